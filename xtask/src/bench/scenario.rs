//! What is measured.

use clap::ValueEnum;

use super::contender::Setup;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Scenario {
    /// 128 B, 64 connections
    Small64,
    /// 128 B, 256 connections
    Small256,
    /// 16 KiB, 64 connections
    #[value(name = "16k")]
    Body16k,
    /// 1 MiB, 16 connections
    #[value(name = "1m")]
    Body1m,
    /// An upload of 1 MiB, 16 connections
    #[value(name = "upload1m")]
    Upload1m,
    /// A connection for each request, 64 at a time
    Close,
    /// One connection: the latency that is added to that of the backend
    Single,
    /// Memory for each of 5,000 connections without a request in flight
    Idle5000,
    /// 128 B, 64 connections, with JSON access log, ten routes with header edits, rate limit
    Everything,
    /// 128 B, 64 connections, two workers beside one
    Workers2,
}

impl Scenario {
    pub(super) fn all() -> &'static [Self] {
        Self::value_variants()
    }

    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    pub(super) fn about(self) -> String {
        self.to_possible_value()
            .and_then(|value| value.get_help().map(ToString::to_string))
            .unwrap_or_default()
    }

    pub(super) fn connections(self) -> usize {
        match self {
            Self::Small64 | Self::Body16k | Self::Close | Self::Everything | Self::Workers2 => 64,
            Self::Small256 => 256,
            Self::Body1m | Self::Upload1m => 16,
            Self::Single => 1,
            Self::Idle5000 => 5000,
        }
    }

    pub(super) fn setup(self) -> Setup {
        if self == Self::Everything { Setup::Everything } else { Setup::Plain }
    }

    pub(super) fn load(self) -> Load {
        let path = match self {
            Self::Body16k => "/bytes/16384",
            Self::Body1m => "/bytes/1048576",
            Self::Everything => "/app7/bytes/128",
            _ => "/bytes/128",
        };
        let body = if self == Self::Upload1m { 1 << 20 } else { 0 };
        Load { path, body, close: self == Self::Close, connections: self.connections() }
    }
}

/// One and the same request over and over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) path: &'static str,
    /// Bytes of the request's body.
    pub(super) body: usize,
    /// A connection for each request.
    pub(super) close: bool,
    pub(super) connections: usize,
}

/// What a browser sends along; with Host.
pub(super) const HOST: &str = "www.example.com";
pub(super) const HEADERS: [(&str, &str); 4] = [
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
];

impl Load {
    /// The request as bytes.
    pub(super) fn request(&self) -> Vec<u8> {
        let method = if self.body > 0 { "POST" } else { "GET" };
        let mut head = format!("{method} {} HTTP/1.1\r\nHost: {HOST}\r\n", self.path);
        for (name, value) in HEADERS {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.close {
            head.push_str("Connection: close\r\n");
        }
        if self.body > 0 {
            head.push_str(&format!("Content-Length: {}\r\n", self.body));
        }
        head.push_str("\r\n");
        let mut request = head.into_bytes();
        request.resize(request.len() + self.body, b'x');
        request
    }
}
