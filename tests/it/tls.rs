//! Tests of the marketplace over HTTPS: which certificates the program trusts, and which it does not.

use std::path::PathBuf;
use std::process::Command;

use imotriz_kafka::sandbox::SandboxArgs;
use tempfile::TempDir;

use crate::support::scene::{RUN_DEADLINE, Scene};
use crate::support::{child, program::Program};

/// Passes on what comes over TLS, and says so: Node's TLS is none of ours.
const FRONT: &str = r#"
const [key, cert, port] = process.argv.slice(1);
const { readFileSync: read } = require("node:fs");
const front = require("node:tls").createServer({ key: read(key), cert: read(cert) }, (secured) => {
  console.log("secured");
  const server = require("node:net").connect(Number(port), "127.0.0.1");
  secured.pipe(server).pipe(secured);
  for (const side of [secured, server]) side.on("error", () => { secured.destroy(); server.destroy(); });
});
front.listen(0, "127.0.0.1", () => console.log("port", front.address().port));
"#;

/// A scene whose marketplace is behind a certificate for `host`, which nobody has signed.
struct Secured {
    scene: Scene,
    front: Program,
    certificate: PathBuf,
    _keys: TempDir,
}

impl Secured {
    fn for_host(host: &str) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let (key, certificate) = (keys.path().join("key.pem"), keys.path().join("certificate.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ]);
        openssl.args(["-subj", "/CN=sandbox", "-addext", &format!("subjectAltName=DNS:{host}")]);
        let made = openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate).output();
        let made = made.expect("openssl is needed for a certificate");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

        let scene = Scene::new("tls", SandboxArgs::with_orders(90));
        let mut node = child::command("node");
        node.args(["-e", FRONT]).arg(&key).arg(&certificate).arg(scene.base_url().rsplit(':').next().unwrap());
        let mut front = Program::spawn(node);
        let line = front.wait_for_line("port ", RUN_DEADLINE);
        let url = format!("https://localhost:{}", line.trim_start_matches("port "));
        let scene = scene.with("IMOTRIZ_STORES__BOGOTA__BASE_URL", &url);
        Self { scene, front, certificate, _keys: keys }
    }

    /// What OpenSSL reads in place of the machine's own certificates.
    fn trusted(mut self) -> Self {
        self.scene = self.scene.with("SSL_CERT_FILE", self.certificate.to_str().unwrap());
        self
    }

    fn is_refused(&self) {
        let program = self.scene.run(&["drain"], 3);
        let said = program.stderr();
        assert!(said.contains("`SSL_CERT_FILE` names") && said.contains("nothing was read"), "{said}");
        assert_eq!(self.front.stdout().matches("secured").count(), 0, "a handshake came to its end");
        assert_eq!(self.scene.reads().len() + self.scene.spool().len(), 0);
    }
}

#[test]
fn a_marketplace_whose_certificate_is_trusted_is_drained_over_tls() {
    let secured = Secured::for_host("localhost").trusted();
    secured.scene.drain();
    secured.scene.verdict().assert_clean();
    assert_eq!(secured.scene.delivered().len(), 90);
    assert!(secured.front.stdout().contains("secured"));
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_read() {
    Secured::for_host("localhost").is_refused();
}

#[test]
fn a_certificate_of_another_host_is_refused_before_anything_is_read() {
    Secured::for_host("marketplace.example").trusted().is_refused();
}
