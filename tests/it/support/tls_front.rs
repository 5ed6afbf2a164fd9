//! HTTPS before a server that has none.

use std::path::PathBuf;

use tempfile::TempDir;

use super::certificates::{make_authority, sign};
use super::child;
use super::program::Program;
use super::scene::RUN_DEADLINE;

/// Passes requests on, and says when a handshake has come to its end. With a login it answers 401 to all others. Node's
/// TLS is none of ours.
const FRONT: &str = r#"
const [key, cert, port, login] = process.argv.slice(1);
const { readFileSync: read } = require("node:fs");
const expected = login && "Basic " + Buffer.from(login).toString("base64");
const front = require("node:https").createServer({ key: read(key), cert: read(cert) }, (asked, answer) => {
  if (expected && asked.headers.authorization !== expected) return answer.writeHead(401).end();
  const { url: path, method, headers } = asked;
  const passed = require("node:http").request({ host: "127.0.0.1", port, path, method, headers }, (from) => {
    answer.writeHead(from.statusCode, from.headers);
    from.pipe(answer);
  });
  passed.on("error", () => answer.destroy());
  asked.pipe(passed);
});
front.on("secureConnection", () => console.log("secured"));
front.listen(0, "127.0.0.1", () => console.log("port", front.address().port));
"#;

/// A running front, and the files that tell whom to trust.
pub struct TlsFront {
    front: Program,
    port: String,
    /// Who has signed its certificate.
    pub authority: PathBuf,
    /// Who has signed nothing here.
    pub stranger: PathBuf,
    _files: TempDir,
}

impl TlsFront {
    /// Before the server at `url`, with a certificate for `host`, and open to `user:password` alone if there is a login.
    pub fn before(url: &str, host: &str, login: Option<&str>) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (authority, stranger) =
            (make_authority(files.path(), "authority"), make_authority(files.path(), "stranger"));
        let (key, certificate) = sign(files.path(), "authority", "server", host, "2");
        let url: reqwest::Url = url.parse().unwrap();
        let mut node = child::command("node");
        node.args(["-e", FRONT]).arg(&key).arg(&certificate).arg(url.port().unwrap().to_string()).args(login);
        let mut front = Program::spawn(node);
        let line = front.wait_for_line("port ", RUN_DEADLINE);
        let port = line.trim_start_matches("port ").to_owned();
        Self { front, port, authority, stranger, _files: files }
    }

    /// Its address with this path.
    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    /// How many handshakes have come to their end.
    pub fn handshakes(&self) -> usize {
        self.front.stdout().matches("secured").count()
    }
}
