//! Who we are to Consul: nobody, the bearer of a token, or somebody who logs in for one.

use reqwest::header::HeaderValue;
use tokio::sync::Mutex;

use super::ConsulLogin;
use crate::http;
use crate::source::SecretSource;
use crate::token_file::TokenFile;
use mfctl_core::domain::Secret;
use mfctl_core::ports::Result;

/// The secret of the token of who shows none.
const ANONYMOUS: &str = "anonymous";

/// What is shown with each question.
#[derive(Debug)]
pub(super) enum Identity {
    Nobody,
    Token(HeaderValue),
    Login(Login),
}

/// A login, and the token it gave.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) method: String,
    bearer: SecretSource,
    kept: Option<TokenFile>,
    pub(super) current: Mutex<Option<HeaderValue>>,
}

impl Identity {
    /// `url` is where Consul is: another one's tokens are not shown to it.
    pub(super) fn of(login: ConsulLogin, url: &str) -> Result<Self> {
        Ok(match login {
            ConsulLogin::Nobody => Self::Nobody,
            ConsulLogin::Token(token) => Self::Token(http::secret_header(token.expose())?),
            ConsulLogin::Method { method, bearer, token_file } => {
                let kept = token_file.map(|path| TokenFile::new(path, &[url, &method]));
                Self::Login(Login { method, bearer, kept, current: Mutex::default() })
            }
        })
    }

    /// Whether Consul takes us for nobody in particular.
    pub(super) fn is_nobody(&self) -> bool {
        match self {
            Self::Nobody => true,
            Self::Token(token) => token.is_empty() || token == ANONYMOUS,
            Self::Login(_) => false,
        }
    }
}

impl Login {
    /// What proves who we are.
    pub(super) fn bearer(&self) -> Result<Secret> {
        (self.bearer.0)()
    }

    /// The token that an earlier process logged in for.
    pub(super) fn earlier(&self) -> Option<HeaderValue> {
        http::secret_header(self.kept.as_ref()?.read()?.expose()).ok()
    }

    /// Keeps a token for the next process.
    pub(super) fn keep(&self, token: &Secret) {
        if let Some(kept) = &self.kept {
            kept.write(token);
        }
    }
}
