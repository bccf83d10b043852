//! The identity that requests to Consul carry: none, a configured token, or the token of an auth method login.

use reqwest::header::HeaderValue;
use tokio::sync::Mutex;

use super::ConsulLogin;
use crate::http;
use crate::source::SecretSource;
use crate::token_file::TokenFile;
use mfctl_core::domain::Secret;
use mfctl_core::ports::Result;

/// The secret of Consul's anonymous token.
const ANONYMOUS: &str = "anonymous";

#[derive(Debug)]
pub(super) enum Identity {
    Anonymous,
    Token(HeaderValue),
    Login(AuthMethodLogin),
}

/// An auth method, and the token of its last login.
#[derive(Debug)]
pub(super) struct AuthMethodLogin {
    pub(super) method: String,
    bearer: SecretSource,
    token_file: Option<TokenFile>,
    pub(super) current: Mutex<Option<HeaderValue>>,
}

impl Identity {
    /// `url` is Consul's address: a stored token is sent only to that Consul.
    pub(super) fn of(login: ConsulLogin, url: &str) -> Result<Self> {
        Ok(match login {
            ConsulLogin::Anonymous => Self::Anonymous,
            ConsulLogin::Token(token) => Self::Token(http::secret_header(token.expose())?),
            ConsulLogin::Method { method, bearer, token_file } => {
                let token_file = token_file.map(|path| TokenFile::new(path, &[url, &method]));
                Self::Login(AuthMethodLogin { method, bearer, token_file, current: Mutex::default() })
            }
        })
    }

    /// Whether Consul treats requests as anonymous; an empty token is anonymous too.
    pub(super) fn is_anonymous(&self) -> bool {
        match self {
            Self::Anonymous => true,
            Self::Token(token) => token.is_empty() || token == ANONYMOUS,
            Self::Login(_) => false,
        }
    }
}

impl AuthMethodLogin {
    pub(super) fn bearer(&self) -> Result<Secret> {
        (self.bearer.0)()
    }

    /// The token of an earlier process's login.
    pub(super) fn stored_token(&self) -> Option<HeaderValue> {
        http::secret_header(self.token_file.as_ref()?.read()?.expose()).ok()
    }

    /// Stores a token for the next process.
    pub(super) fn store(&self, token: &Secret) {
        if let Some(token_file) = &self.token_file {
            token_file.write(token);
        }
    }
}
