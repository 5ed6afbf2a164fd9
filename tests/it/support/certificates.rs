//! Private keys and certificates, made by OpenSSL.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const NEW_KEY: [&str; 6] = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/// The certificate of an authority of this name, whose private key is beside it.
pub fn make_authority(directory: &Path, name: &str) -> PathBuf {
    let certificate = directory.join(format!("{name}.pem"));
    let subject = format!("/CN={name}");
    let arguments = [&NEW_KEY[..], &["-x509", "-days", "2", "-subj", &subject]].concat();
    openssl(&arguments, |command| {
        command.arg("-keyout").arg(directory.join(format!("{name}.key"))).arg("-out").arg(&certificate)
    });
    certificate
}

/// A private key, and a certificate of `name` for `host` that the authority has signed: `host` is an alternative name
/// such as `IP:127.0.0.1`.
pub fn sign(directory: &Path, authority: &str, name: &str, host: &str, days: &str) -> (PathBuf, PathBuf) {
    let file = |extension: &str| directory.join(format!("{name}.{extension}"));
    let (key, request, certificate) = (file("key"), file("csr"), file("pem"));
    openssl(&[&NEW_KEY[..], &["-subj", &format!("/CN={name}")]].concat(), |command| {
        command.arg("-keyout").arg(&key).arg("-out").arg(&request)
    });
    let extensions = file("ext");
    fs::write(&extensions, format!("subjectAltName={host}\n")).unwrap();
    openssl(&["x509", "-req", "-days", days, "-CAcreateserial"], |command| {
        let of_authority = |extension: &str| directory.join(format!("{authority}.{extension}"));
        command.arg("-CA").arg(of_authority("pem")).arg("-CAkey").arg(of_authority("key"));
        command.arg("-extfile").arg(&extensions).arg("-in").arg(&request).arg("-out").arg(&certificate)
    });
    (key, certificate)
}

pub fn openssl(arguments: &[&str], files: impl FnOnce(&mut Command) -> &mut Command) {
    let mut command = Command::new("openssl");
    let made = files(command.args(arguments)).output().expect("openssl is needed for certificates");
    assert!(made.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&made.stderr));
}
