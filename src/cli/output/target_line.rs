//! stderr's first line, which names what a command works on.

use unicode_width::UnicodeWidthStr;

use super::escape::escape;
use super::shorten::{end_of, start_of};
use crate::ops::target::Target;
use mfctl_core::domain::SourcePath;

/// The longest line in character cells.
const WIDTH: usize = 100;
/// What an address, a name and the data folder keep at least where the line is too long.
const MIN_ADDRESS: usize = 16;
const MIN_NAME: usize = 8;
const MIN_FOLDER: usize = 16;

/// `target: profile=prod env=prod kafka=kafka-1:9092 +6 data=/var/lib/mfctl (protected)`: at most 100 character cells. The first
/// server stands for all of them; a long folder, address or name is shortened, in this order, but never the environment of a
/// protected profile.
#[must_use]
pub fn target_line(target: &Target) -> String {
    let (mut profile, mut environment) = (escaped(&target.profile), escaped(target.environment.as_ref()));
    let mut endpoint = target.endpoints.first().map(|endpoint| escaped(&endpoint.address));
    let mut folder = escaped(&SourcePath::from_path(&target.data_dir).to_string());
    let line = |profile: &str, environment: &str, endpoint: Option<&String>, folder: &str| {
        let servers = match (target.endpoints.as_slice(), endpoint) {
            ([first, others @ ..], Some(address)) => {
                let others = if others.is_empty() { String::new() } else { format!(" +{}", others.len()) };
                format!(" {}={address}{others}", first.service)
            }
            _ => String::new(),
        };
        whole_line(profile, environment, &servers, folder, target.protected)
    };
    let excess = |line: String| line.width().saturating_sub(WIDTH);
    let over = excess(line(&profile, &environment, endpoint.as_ref(), &folder));
    folder = end_of(&folder, folder.width().saturating_sub(over).max(MIN_FOLDER));
    let over = excess(line(&profile, &environment, endpoint.as_ref(), &folder));
    endpoint = endpoint.map(|address| start_of(&address, address.width().saturating_sub(over).max(MIN_ADDRESS)));
    let over = excess(line(&profile, &environment, endpoint.as_ref(), &folder));
    profile = start_of(&profile, profile.width().saturating_sub(over).max(MIN_NAME));
    if !target.protected {
        let over = excess(line(&profile, &environment, endpoint.as_ref(), &folder));
        environment = start_of(&environment, environment.width().saturating_sub(over).max(MIN_NAME));
    }
    line(&profile, &environment, endpoint.as_ref(), &folder)
}

/// The line with every server and nothing shortened.
#[must_use]
pub fn full_target_line(target: &Target) -> String {
    let servers =
        target.endpoints.iter().map(|endpoint| format!(" {}={}", endpoint.service, escaped(&endpoint.address)));
    let folder = escaped(&SourcePath::from_path(&target.data_dir).to_string());
    let environment = escaped(target.environment.as_ref());
    whole_line(&escaped(&target.profile), &environment, &servers.collect::<String>(), &folder, target.protected)
}

fn whole_line(profile: &str, environment: &str, servers: &str, folder: &str, protected: bool) -> String {
    let mark = if protected { " (protected)" } else { "" };
    format!("target: profile={profile} env={environment}{servers} data={folder}{mark}")
}

fn escaped(text: &str) -> String {
    escape(text).into_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ops::target::{Endpoint, tests::target};
    use mfctl_core::domain::EnvName;

    fn cluster(folder: &str, protected: bool) -> Target {
        let server = |(service, address): (&str, &str)| Endpoint { service: service.into(), address: address.into() };
        let servers = [
            ("kafka", "kafka-1.eu-central.example.org:9092,kafka-2.eu-central.example.org:9092"),
            ("s3", "https://s3.example.org"),
            ("postgrest", "https://rest.example.org"),
        ];
        Target { endpoints: servers.map(server).into(), ..target(Path::new(folder), protected) }
    }

    #[test]
    fn a_short_line_names_everything() {
        let line = target_line(&target(Path::new("/home/x/.local/share/mfctl"), false));
        assert_eq!(line, "target: profile=embedded env=dev data=/home/x/.local/share/mfctl");
    }

    #[test]
    fn many_servers_are_counted_and_listed_by_the_full_line() {
        let target = cluster("/var/lib/mfctl", true);
        assert_eq!(
            target_line(&target),
            "target: profile=embedded env=prod kafka=kafka-1.eu-central.examp… +2 data=/var/lib/mfctl (protected)"
        );
        let full = full_target_line(&target);
        assert!(target.endpoints.iter().all(|endpoint| full.contains(&endpoint.address)), "{full}");
    }

    #[test]
    fn the_line_keeps_to_its_width_and_shows_a_protected_environment_whole() {
        let long = "x".repeat(63);
        for protected in [false, true] {
            let folder = format!("/srv/{}/کتاب‌ها/\u{1b}[31m", "long/".repeat(60));
            let name = EnvName::new(if protected { "production" } else { "development-of-the-archive" }).unwrap();
            let target = Target { profile: long.clone(), environment: name, ..cluster(&folder, protected) };
            let line = target_line(&target);
            assert!(line.width() <= WIDTH, "{} {line}", line.width());
            assert!(!protected || line.contains(" env=production kafka="), "{line}");
            assert!(full_target_line(&target).contains(&long));
        }
    }
}
