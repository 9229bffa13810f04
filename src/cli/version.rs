//! `tlsgate version`: what this is, and what it can do here.

use clap::Args;

use super::Exit;
use crate::config::model::EngineChoice;
use crate::engine::probe;
use crate::tls::provider::provider;
use crate::tls::tls_conn::suite_name;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Show engine support, cryptography and CPU features
    #[arg(short = 'v', long)]
    verbose: bool,
}

pub(super) fn version(options: &Options) -> Exit {
    println!("tlsgate {}", env!("CARGO_PKG_VERSION"));
    if options.verbose {
        engine();
        cryptography();
        machine();
    }
    Exit::Success
}

fn engine() {
    match probe::choose(EngineChoice::Auto) {
        Ok(chosen) => println!("engine:    {} ({})", chosen.engine.as_str(), chosen.reason),
        Err(reason) => println!("engine:    none ({reason})"),
    }
}

fn cryptography() {
    let provider = provider();
    println!("tls:       rustls 0.23; records and signatures by ring, key exchange by aws-lc-rs");
    let suites = provider.cipher_suites.iter().map(|suite| suite_name(suite.suite()));
    println!("suites:    {}", suites.collect::<Vec<_>>().join(" "));
    let groups = provider.kx_groups.iter().filter_map(|group| group.name().as_str());
    println!("groups:    {}", groups.collect::<Vec<_>>().join(" "));
    println!("fips:      no");
}

fn machine() {
    let uname = rustix::system::uname();
    let kernel = uname.release().to_string_lossy();
    println!("kernel:    {} {kernel}", uname.sysname().to_string_lossy());
    println!("workers:   {} by default", crate::app::default_count());
    println!("cpu:       {}", cpu_features().join(" "));
}

/// CPU features that TLS gains from.
fn cpu_features() -> Vec<&'static str> {
    let mut features = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let known = [
            ("aes", is_x86_feature_detected!("aes")),
            ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
            ("vaes", is_x86_feature_detected!("vaes")),
            ("vpclmulqdq", is_x86_feature_detected!("vpclmulqdq")),
            ("avx2", is_x86_feature_detected!("avx2")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("adx", is_x86_feature_detected!("adx")),
            ("bmi2", is_x86_feature_detected!("bmi2")),
            ("sha", is_x86_feature_detected!("sha")),
        ];
        features.extend(known.iter().filter(|(_, has)| *has).map(|(name, _)| *name));
    }
    #[cfg(target_arch = "aarch64")]
    {
        let known = [
            ("aes", std::arch::is_aarch64_feature_detected!("aes")),
            ("sha2", std::arch::is_aarch64_feature_detected!("sha2")),
        ];
        features.extend(known.iter().filter(|(_, has)| *has).map(|(name, _)| *name));
    }
    features
}
