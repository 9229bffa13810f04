//! Makes trust from settings. Lists of CRLs can be large and are the same for many listeners: what
//! is equal is read once and shared.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};

use super::authority::{Authority, Usage};
use super::client::ClientTrust;
use super::crls::SharedCrls;
use super::roots::Roots;
use super::server::ServerTrust;
use super::strength::Strength;
use super::{
    ClientCert, ClientTrustSettings, CrlPolicy, CrlRules, ServerTrustSettings, TrustFile, Verify,
};
use crate::tls::file::{FileProblem, NamedFile};

/// Loads the trust of one configuration. Files are taken to be the same for as long as it lives.
#[derive(Debug)]
pub struct Loader {
    provider: Arc<CryptoProvider>,
    roots: HashMap<Vec<PathBuf>, Arc<Roots>>,
    crls: HashMap<(Vec<PathBuf>, Strength), Arc<SharedCrls>>,
    authorities: HashMap<Key, Arc<Authority>>,
}

/// What makes two authorities the same: CAs, CRLs, how those apply, what certificates are for, and
/// which signatures count.
type Key = (Vec<PathBuf>, Vec<PathBuf>, CrlRules, Usage, Strength);

impl Loader {
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider, roots: HashMap::new(), crls: HashMap::new(), authorities: HashMap::new() }
    }

    /// Trust in peers that connect.
    ///
    /// # Errors
    /// Every problem found.
    pub fn client(
        &mut self,
        settings: &ClientTrustSettings,
    ) -> Result<ClientTrust, Vec<FileProblem>> {
        self.client_of(settings, Strength::Usual)
    }

    /// The same of peers whose certificates may be this weak.
    ///
    /// # Errors
    /// Every problem found.
    pub fn client_of(
        &mut self,
        settings: &ClientTrustSettings,
        strength: Strength,
    ) -> Result<ClientTrust, Vec<FileProblem>> {
        let authority = match settings.client_cert {
            ClientCert::None => None,
            ClientCert::Optional | ClientCert::Required | ClientCert::Report => {
                Some(self.authority(settings.sources(), Usage::Client, strength)?)
            }
        };
        Ok(ClientTrust::new(settings.client_cert, authority))
    }

    /// Trust in components that we connect to.
    ///
    /// # Errors
    /// Every problem found.
    pub fn server(
        &mut self,
        settings: &ServerTrustSettings,
    ) -> Result<ServerTrust, Vec<FileProblem>> {
        self.server_of(settings, Strength::Usual)
    }

    /// The same in components whose certificates may be this weak.
    ///
    /// # Errors
    /// Every problem found.
    pub fn server_of(
        &mut self,
        settings: &ServerTrustSettings,
        strength: Strength,
    ) -> Result<ServerTrust, Vec<FileProblem>> {
        let authority = match settings.verify {
            Verify::Full | Verify::Chain => {
                Some(self.authority(settings.sources(), Usage::Server, strength)?)
            }
            Verify::Pin | Verify::None => None,
        };
        let algorithms = self.algorithms(strength);
        Ok(ServerTrust::new(
            settings.verify,
            settings.name_match,
            authority,
            &settings.pins,
            algorithms,
        ))
    }

    /// All CRLs that were loaded, for whoever watches their files and tells of them.
    pub fn crls(&self) -> impl Iterator<Item = &Arc<SharedCrls>> {
        self.crls.values()
    }

    fn authority(
        &mut self,
        (trusted_ca, policy): (&[TrustFile], &CrlPolicy),
        usage: Usage,
        strength: Strength,
    ) -> Result<Arc<Authority>, Vec<FileProblem>> {
        let key = (paths(trusted_ca), paths(&policy.files), policy.rules, usage, strength);
        if let Some(known) = self.authorities.get(&key) {
            return Ok(Arc::clone(known));
        }
        let algorithms = self.algorithms(strength);
        let (roots, crls) = match (self.roots(trusted_ca), self.crls_of(&policy.files, strength)) {
            (Ok(roots), Ok(crls)) => (roots, crls),
            (roots, crls) => {
                let problems = [roots.err(), crls.err()];
                return Err(problems.into_iter().flatten().flatten().collect());
            }
        };
        if let Some(crls) = &crls {
            crls.serve(&roots)?;
        }
        let authority = Authority::new(roots, crls, policy.rules, usage, algorithms);
        let authority = Arc::new(authority);
        self.authorities.insert(key, Arc::clone(&authority));
        Ok(authority)
    }

    fn algorithms(&self, strength: Strength) -> WebPkiSupportedAlgorithms {
        strength.algorithms(self.provider.signature_verification_algorithms)
    }

    fn roots(&mut self, files: &[TrustFile]) -> Result<Arc<Roots>, Vec<FileProblem>> {
        if files.is_empty() {
            let named = NamedFile { file: Path::new(""), line: 0, key: "trusted_ca" };
            let hint = "Name the file with the CAs of the certificates that are to be verified.";
            return Err(vec![named.problem("no file", "CA certificates in PEM", hint)]);
        }
        if let Some(known) = self.roots.get(&paths(files)) {
            return Ok(Arc::clone(known));
        }
        let roots = Arc::new(Roots::load(files)?);
        self.roots.insert(paths(files), Arc::clone(&roots));
        Ok(roots)
    }

    fn crls_of(
        &mut self,
        files: &[TrustFile],
        strength: Strength,
    ) -> Result<Option<Arc<SharedCrls>>, Vec<FileProblem>> {
        if files.is_empty() {
            return Ok(None);
        }
        let key = (paths(files), strength);
        if let Some(known) = self.crls.get(&key) {
            return Ok(Some(Arc::clone(known)));
        }
        let crls = Arc::new(SharedCrls::load(files, self.algorithms(strength))?);
        self.crls.insert(key, Arc::clone(&crls));
        Ok(Some(crls))
    }
}

fn paths(files: &[TrustFile]) -> Vec<PathBuf> {
    files.iter().map(|file| file.path.clone()).collect()
}
