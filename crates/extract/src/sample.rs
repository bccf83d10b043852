//! The trial parse: built-in samples of each kind of file, parsed as any file is, under given limits.
//!
//! It tells a file that cannot be parsed from a machine, a limit or a parser that fails every file.

use std::fs::File;
use std::io::{Seek, Write};

use super::parsers::{Extraction, Limits};
use super::sandbox::{Parser, ParserFailure};

/// A file built into the program.
struct Sample {
    media_type: &'static str,
    bytes: &'static [u8],
}

const SAMPLES: [Sample; 4] = [
    Sample { media_type: "text/plain", bytes: include_bytes!("samples/sample.txt") },
    Sample { media_type: "text/html", bytes: include_bytes!("samples/sample.html") },
    Sample { media_type: "application/pdf", bytes: include_bytes!("samples/sample.pdf") },
    Sample { media_type: "image/png", bytes: include_bytes!("samples/sample.png") },
];

impl Parser {
    /// Parses the built-in samples (text, HTML, PDF and PNG) in the sandbox, under these limits, one after the other.
    ///
    /// Success means that parsers start on this machine and that the limits leave room for a small file. It says nothing
    /// about larger files.
    ///
    /// # Errors
    /// The failure of the first sample that is not parsed; its reason names the sample.
    pub async fn check(&self, limits: &Limits) -> Result<(), ParserFailure> {
        for sample in &SAMPLES {
            self.check_sample(sample, limits).await.map_err(|failure| ParserFailure {
                reason: format!("the built-in {} sample: {}", sample.media_type, failure.reason),
                ..failure
            })?;
        }
        Ok(())
    }

    async fn check_sample(&self, sample: &Sample, limits: &Limits) -> Result<(), ParserFailure> {
        let file = open(sample).map_err(|error| ParserFailure::environment("writing a temporary file", &error))?;
        let (extraction, thumbnail) = self.parse(file, sample.media_type, limits).await?;
        if sample.is_result(&extraction, &thumbnail) {
            return Ok(());
        }
        Err(ParserFailure::unreadable("the parser's answer lacks the text or the image of the file"))
    }
}

impl Sample {
    /// Whether this is what the parser finds in the sample.
    fn is_result(&self, extraction: &Extraction, thumbnail: &[u8]) -> bool {
        match self.media_type {
            "image/png" => extraction.image.as_ref().is_some_and(|image| image.width == 16) && !thumbnail.is_empty(),
            // The text may be cut by the limit on it.
            _ => extraction.truncated || extraction.text.as_deref().is_some_and(|text| text.contains("sample")),
        }
    }
}

fn open(sample: &Sample) -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(sample.bytes)?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parsers::extract;
    use crate::sandbox::ParserFailureKind;

    #[test]
    fn every_sample_is_parsed_under_the_default_limits() {
        for sample in &SAMPLES {
            let parsed = extract(open(sample).unwrap(), sample.media_type, &Limits::default());
            let (extraction, thumbnail) = parsed.unwrap();
            let thumbnail = thumbnail.unwrap_or_default();
            assert!(sample.is_result(&extraction, &thumbnail), "{}: {extraction:?}", sample.media_type);
        }
    }

    #[tokio::test]
    async fn the_failure_names_the_sample() {
        let failure = Parser::of_program("/nowhere/mfctl").check(&Limits::default()).await.unwrap_err();
        assert_eq!(failure.kind, ParserFailureKind::Spawn);
        assert!(failure.reason.contains("the built-in text/plain sample: starting the parser"), "{failure}");
    }
}
