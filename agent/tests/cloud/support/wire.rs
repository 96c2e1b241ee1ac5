//! As much HTTP/1.1 as these tests need: one exchange a connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A request or an answer: its first line, its headers, its body.
#[derive(Debug, Clone)]
pub struct Message {
    pub first: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Message {
    /// A form posted to an API of AWS.
    pub fn call(service: &str, version: &str, params: &[(&str, &str)]) -> Self {
        let all = params.iter().copied().chain([("Version", version)]);
        let body = all.map(|(key, value)| format!("{key}={}", escape(value))).collect::<Vec<_>>().join("&");
        // The stand-in reads the service and the region out of the signature, and does not check it.
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=KEY/20260101/eu-central-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("host", "127.0.0.1"),
            ("authorization", &authorization),
        ];
        let headers = headers.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        Self { first: "POST / HTTP/1.1".into(), headers, body }
    }

    pub fn read(stream: &TcpStream) -> io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let first = line(&mut reader)?;
        let mut headers = Vec::new();
        loop {
            let line = line(&mut reader)?;
            match line.split_once(':') {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None => break,
            }
        }
        let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, n)| n.parse().ok());
        let mut body = Vec::new();
        match length {
            Some(length) => reader.take(length).read_to_end(&mut body)?,
            None if first.starts_with("HTTP/") => reader.read_to_end(&mut body)?,
            None => 0,
        };
        Ok(Self { first, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }

    pub fn write(&self, mut stream: &TcpStream) -> io::Result<()> {
        let mut text = format!("{}\r\n", self.first);
        for (name, value) in &self.headers {
            if !["content-length", "connection", "transfer-encoding"].contains(&name.as_str()) {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        text.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n{}", self.body.len(), self.body));
        stream.write_all(text.as_bytes())
    }

    /// One exchange.
    pub fn exchange(&self, to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        self.write(&stream)?;
        Self::read(&stream)
    }

    /// The parameters of a form.
    pub fn params(&self) -> Vec<(String, String)> {
        let pairs = self.body.split('&').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (unescape(key), unescape(value))).collect()
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn escape(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = (first == b'%').then(|| after.get(..2)).flatten();
        let hex = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(hex.unwrap_or(if first == b'+' { b' ' } else { first }));
        rest = if hex.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap()
}
