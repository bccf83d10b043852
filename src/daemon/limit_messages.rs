//! The parser, with failures that name the limit in force, where it comes from, who set it when and why, and its default.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::ops::setting_report::{SettingAuthors, in_force};
use crate::pipeline::enrich::Extractor;
use crate::settings::{Settings, general_key};
use mfctl_extract::parsers::{Extraction, Limits};
use mfctl_extract::sandbox::{ExtractRequest, ParserFailure, ParserFailureKind};

/// The setting of each limit, by the flag that the parser's failures name.
const LIMITS: [(&str, &str); 5] = [
    ("--memory", "enrich.memory"),
    ("--cpu", "enrich.cpu"),
    ("--wall", "enrich.wall"),
    ("--max-pixels", "enrich.max_pixels"),
    ("--max-text", "enrich.max_text"),
];

/// Each limit in words, by the name of its setting.
#[derive(Debug, Clone, Default)]
pub(super) struct LimitTexts(Arc<BTreeMap<&'static str, String>>);

impl LimitTexts {
    pub(super) fn new(settings: &Settings, authors: &SettingAuthors) -> Self {
        let text = |(_, name): &(&str, &'static str)| Some((*name, in_force(general_key(name)?, settings, authors)));
        Self(Arc::new(LIMITS.iter().filter_map(text).collect()))
    }

    /// The text of the limit that a failure exceeded, if it did.
    fn of(&self, failure: &ParserFailure) -> Option<&str> {
        let named = LIMITS.iter().find(|(flag, _)| failure.reason.contains(flag)).map(|(_, setting)| *setting);
        let setting = named.or((failure.kind == ParserFailureKind::OutputTooLarge).then_some("enrich.max_text"));
        self.0.get(setting?).map(String::as_str)
    }
}

/// An extractor whose failures name the limit in force.
pub(super) struct ExplainedExtractor<E> {
    pub(super) extractor: E,
    pub(super) limits: watch::Receiver<LimitTexts>,
}

#[async_trait]
impl<E: Extractor> Extractor for ExplainedExtractor<E> {
    async fn extract(&self, request: ExtractRequest<'_>) -> Result<Extraction, ParserFailure> {
        self.extractor.extract(request).await.map_err(|failure| {
            let limits = self.limits.borrow().clone();
            match limits.of(&failure) {
                Some(limit) => ParserFailure { reason: format!("{}; {limit}", failure.reason), ..failure },
                None => failure,
            }
        })
    }

    async fn check(&self, limits: &Limits) -> Result<(), ParserFailure> {
        self.extractor.check(limits).await
    }
}
