//! Ids from the command line, where `-` reads them from stdin, one a line.

use std::fmt::Display;
use std::io::{BufRead, Read};
use std::str::FromStr;

use super::failure::{Failure, FailureKind, OrFail, Result};

/// Longest line of stdin that is read as an id, in bytes.
const MAX_LINE: u64 = 1024;

/// Parses all ids; `-` stands for the ids on stdin. Empty lines are skipped.
///
/// # Errors
/// `Usage` for a word that is not an id, with the word; `Invalid` when `-` finds none on stdin.
pub fn parse_all<T: FromStr<Err: Display>>(given: &[String]) -> Result<Vec<T>> {
    parse_all_from(given, &mut std::io::stdin().lock())
}

fn parse_all_from<T: FromStr<Err: Display>>(given: &[String], stdin: &mut dyn BufRead) -> Result<Vec<T>> {
    let mut ids = Vec::new();
    for word in given {
        if word == "-" {
            let before = ids.len();
            read_lines(stdin, &mut ids)?;
            if ids.len() == before {
                return Err(Failure::invalid("stdin has no ids").hint("`-` reads one id a line"));
            }
        } else {
            ids.push(parse_id(word)?);
        }
    }
    Ok(ids)
}

/// Parses one id; `-` stands for the only id on stdin.
///
/// # Errors
/// As [`parse_all`]; `Usage` when stdin has more than one.
pub fn parse_one<T: FromStr<Err: Display>>(given: &str) -> Result<T> {
    let mut ids = parse_all(&[given.to_owned()])?;
    match (ids.pop(), ids.is_empty()) {
        (Some(id), true) => Ok(id),
        _ => Err(Failure::usage("this command takes one id, and stdin has more")),
    }
}

fn parse_id<T: FromStr<Err: Display>>(word: &str) -> Result<T> {
    word.parse().map_err(|error: T::Err| Failure::usage(error.to_string()))
}

fn read_lines<T: FromStr<Err: Display>>(stdin: &mut dyn BufRead, ids: &mut Vec<T>) -> Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        let read = stdin.take(MAX_LINE).read_line(&mut line);
        if read.or_fail(FailureKind::Invalid, || "cannot read ids from stdin".to_owned())? == 0 {
            return Ok(());
        }
        let word = line.trim();
        if !word.is_empty() {
            ids.push(parse_id(word)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfctl_core::domain::RecordAddress;

    #[test]
    fn a_dash_reads_ids_from_stdin() {
        let mut stdin: &[u8] = b"a.dlq:0:1\n\n  a.dlq:0:2  \n";
        let given = ["b.dlq:1:1".to_owned(), "-".to_owned()];
        let ids: Vec<RecordAddress> = parse_all_from(&given, &mut stdin).unwrap();
        assert_eq!(ids.iter().map(ToString::to_string).collect::<Vec<_>>(), ["b.dlq:1:1", "a.dlq:0:1", "a.dlq:0:2"]);
    }

    #[test]
    fn an_invalid_id_is_named_in_the_error() {
        let wrong = parse_all_from::<RecordAddress>(&["nonsense".to_owned()], &mut std::io::empty()).unwrap_err();
        assert_eq!(wrong.exit_code(), 2);
        assert!(wrong.message().contains("nonsense"), "{wrong}");
        let none = parse_all_from::<RecordAddress>(&["-".to_owned()], &mut std::io::empty()).unwrap_err();
        assert_eq!(none.exit_code(), 6);
        let mut long: &[u8] = &[b'x'; 5000];
        assert_eq!(parse_all_from::<RecordAddress>(&["-".to_owned()], &mut long).unwrap_err().exit_code(), 2);
    }
}
