//! stderr's first line, which names what a command works on.

use unicode_width::UnicodeWidthStr;

use super::escape::escape;
use super::shorten::{end_of, start_of};
use crate::ops::target::Target;
use mfctl_core::domain::SourcePath;

/// The longest line in character cells.
const WIDTH: usize = 100;

/// What parts of a line that is too long keep at least, in character cells.
struct Minima {
    /// `None` leaves out the folder.
    folder: Option<usize>,
    address: usize,
    name: usize,
}

/// Tried in this order, until the line fits.
const MINIMA: [Minima; 4] = [
    Minima { folder: Some(16), address: 16, name: 8 },
    Minima { folder: Some(8), address: 8, name: 4 },
    Minima { folder: None, address: 16, name: 8 },
    Minima { folder: None, address: 8, name: 4 },
];

/// `target: profile=prod env=prod kafka=kafka-1:9092 +6 data=/var/lib/mfctl (protected)`: at most 100 character cells. The first
/// server stands for all of them; a long folder, address or name is shortened, in this order, but never the environment of a
/// protected profile. Where that is not enough, the folder is left out.
#[must_use]
pub fn target_line(target: &Target) -> String {
    let mut lines = MINIMA.iter().map(|minima| shortened_line(target, minima));
    let fits = |line: &String| line.width() <= WIDTH;
    lines.find(fits).unwrap_or_else(|| shortened_line(target, &MINIMA[MINIMA.len() - 1]))
}

fn shortened_line(target: &Target, minima: &Minima) -> String {
    let (mut profile, mut environment) = (escaped(&target.profile), escaped(target.environment.as_ref()));
    let mut endpoint = target.endpoints.first().map(|endpoint| escaped(&endpoint.address));
    let mut folder = minima.folder.map(|_| escaped(&SourcePath::from_path(&target.data_dir).to_string()));
    let line = |profile: &str, environment: &str, endpoint: Option<&String>, folder: Option<&String>| {
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
    let over = excess(line(&profile, &environment, endpoint.as_ref(), folder.as_ref()));
    folder = folder.zip(minima.folder).map(|(folder, least)| {
        let width = folder.width().saturating_sub(over).max(least);
        end_of(&folder, width)
    });
    let over = excess(line(&profile, &environment, endpoint.as_ref(), folder.as_ref()));
    endpoint = endpoint.map(|address| start_of(&address, address.width().saturating_sub(over).max(minima.address)));
    let over = excess(line(&profile, &environment, endpoint.as_ref(), folder.as_ref()));
    profile = start_of(&profile, profile.width().saturating_sub(over).max(minima.name));
    if !target.protected {
        let over = excess(line(&profile, &environment, endpoint.as_ref(), folder.as_ref()));
        environment = start_of(&environment, environment.width().saturating_sub(over).max(minima.name));
    }
    line(&profile, &environment, endpoint.as_ref(), folder.as_ref())
}

/// The line with every server and nothing shortened.
#[must_use]
pub fn full_target_line(target: &Target) -> String {
    let servers =
        target.endpoints.iter().map(|endpoint| format!(" {}={}", endpoint.service, escaped(&endpoint.address)));
    let folder = escaped(&SourcePath::from_path(&target.data_dir).to_string());
    let environment = escaped(target.environment.as_ref());
    whole_line(&escaped(&target.profile), &environment, &servers.collect::<String>(), Some(&folder), target.protected)
}

fn whole_line(profile: &str, environment: &str, servers: &str, folder: Option<&String>, protected: bool) -> String {
    let mark = if protected { " (protected)" } else { "" };
    let folder = folder.map(|folder| format!(" data={folder}")).unwrap_or_default();
    format!("target: profile={profile} env={environment}{servers}{folder}{mark}")
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

    #[test]
    fn the_longest_protected_environment_is_whole() {
        let environment = "e".repeat(32);
        let name = EnvName::new(&environment).unwrap();
        for (service, start, end) in [
            ("s3", " s3=kafka-1", "duction (protected)"),
            ("kafka", " kafka=kafka-1.eu", " +2 (protected)"),
            ("schema registry", " schema registry=kafka-1", " +2 (protected)"),
        ] {
            let mut target = cluster("/var/lib/mfctl/production", true);
            target.profile = "production-of-the-archive".to_owned();
            target.environment = name.clone();
            target.endpoints[0].service = service.into();
            let line = target_line(&target);
            assert!(line.width() <= WIDTH, "{} {line}", line.width());
            assert!(line.contains(&format!(" env={environment}{start}")) && line.ends_with(end), "{line}");
        }
    }
}
