//! The profiles of `tuning`: their files are their only source.

/// Settings for one kind of load.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    pub name: &'static str,
    /// `tuning/profiles/NAME.toml`.
    pub settings: &'static str,
    /// `tuning/sysctl/NAME.conf`.
    pub sysctl: &'static str,
}

macro_rules! profiles {
    ($($name:literal),*) => {
        /// All of them.
        pub const PROFILES: &[Profile] = &[$(Profile {
            name: $name,
            settings: include_str!(concat!("../../tuning/profiles/", $name, ".toml")),
            sysctl: include_str!(concat!("../../tuning/sysctl/", $name, ".conf")),
        }),*];
    };
}

profiles!("many-idle", "handshake-heavy", "bulk", "low-latency");

/// A line of a profile's sysctl file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub key: &'static str,
    pub value: &'static str,
    /// The comment above it, as one line.
    pub why: String,
    /// Whether the kernel may lack it: a dash in front.
    pub is_optional: bool,
}

impl Profile {
    pub fn named(name: &str) -> Option<&'static Self> {
        PROFILES.iter().find(|profile| profile.name == name)
    }

    /// The settings of the sysctl file, in its order.
    pub fn settings_of_kernel(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        let mut comment: Vec<&str> = Vec::new();
        for line in self.sysctl.lines().map(str::trim) {
            if let Some(text) = line.strip_prefix('#') {
                comment.push(text.trim());
            } else if let Some((key, value)) = line.split_once('=') {
                let key = key.trim();
                settings.push(Setting {
                    key: key.trim_start_matches('-'),
                    value: value.trim(),
                    why: comment.join(" "),
                    is_optional: key.starts_with('-'),
                });
            } else {
                // An empty line: what was said is about something else.
                comment.clear();
            }
        }
        settings
    }
}
