//! An HTTP server with scripted responses.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A scripted response.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    /// Further header lines, each with its line end.
    pub headers: &'static str,
    pub body: String,
}

impl Answer {
    /// An S3 error response.
    pub fn refusal(status: u16, code: &str) -> Self {
        let body = format!("<Error><Code>{code}</Code><Message>scripted</Message></Error>");
        Self { status, headers: "Content-Type: application/xml\r\n", body }
    }

    /// A response with status 200 and no body.
    pub fn ok(headers: &'static str) -> Self {
        Self { status: 200, headers, body: String::new() }
    }
}

/// The heads of the received requests.
pub type Heads = Arc<Mutex<Vec<String>>>;

/// Starts a server; returns its address. The last response is repeated.
pub async fn server(answers: Vec<Answer>) -> (String, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heads = Heads::default();
    let all = heads.clone();
    let script = Arc::new(answers);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client, script.clone(), all.clone()));
        }
    });
    (url, heads)
}

async fn serve(mut client: TcpStream, script: Arc<Vec<Answer>>, heads: Heads) {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if client.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        while read.len() < end + length.unwrap_or(0) {
            if client.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        }
        read.drain(..end + length.unwrap_or(0));
        let only_head = head.starts_with("HEAD ");
        let answer = {
            let mut heads = heads.lock().unwrap();
            heads.push(head);
            script[(heads.len() - 1).min(script.len() - 1)].clone()
        };
        let Answer { status, headers, body } = answer;
        let length = body.len();
        let body = if only_head { "" } else { &body };
        let text = format!("HTTP/1.1 {status} Scripted\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        if client.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}
