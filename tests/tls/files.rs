//! Files that do not fit: `leveret check-config` names them, and so does a broker that does not start.

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::authority::Authority;

/// Runs the program with this configuration in an empty directory.
fn leveret(config: &str, arguments: &[&str]) -> Output {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("leveret.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
    command
        .args([
            "--config",
            "leveret.toml",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            "data",
        ])
        .args(arguments)
        .current_dir(&directory)
        .output()
        .unwrap()
}

#[test]
fn good_files_pass() {
    let authority = Authority::new();
    authority.certify_broker();
    let output = leveret(&authority.config("required"), &["check-config"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_file_that_does_not_fit_is_named_with_what_would() {
    let other_key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    let rows = [
        ("chain.pem", None, "cannot read the TLS certificate in "),
        ("key.pem", None, "cannot read the TLS key in "),
        ("ca.pem", None, "cannot read the TLS authority in "),
        (
            "chain.pem",
            Some("DER or so"),
            "chain.pem holds no TLS certificate: it must be PEM",
        ),
        (
            "chain.pem",
            Some(cut),
            "chain.pem holds no TLS certificate: it must be PEM",
        ),
        (
            "chain.pem",
            Some(no_certificate),
            "cannot use the TLS certificate in ",
        ),
        ("key.pem", Some(""), "key.pem holds no TLS key: it must be PEM"),
        (
            "key.pem",
            Some(encrypted),
            "not encrypted; openssl pkey -in FILE -out FILE decrypts it",
        ),
        (
            "key.pem",
            Some(&other_key),
            "is not the one of the certificate in ",
        ),
        (
            "ca.pem",
            Some(""),
            "ca.pem holds no TLS authority: it must be PEM",
        ),
        ("ca.pem", Some(no_certificate), "ca.pem as an authority"),
    ];
    for (name, text, complaint) in rows {
        let authority = Authority::new();
        authority.certify_broker();
        match text {
            Some(text) => fs::write(authority.path(name), text).unwrap(),
            None => fs::remove_file(authority.path(name)).unwrap(),
        }
        for arguments in [&["check-config"][..], &[]] {
            let output = leveret(&authority.config("required"), arguments);
            assert_eq!(output.status.code(), Some(1), "{name} {text:?}: {output:?}");
            let lines = String::from_utf8(output.stderr).unwrap();
            assert!(
                lines.contains(complaint) && lines.contains(name),
                "{complaint}: {lines}"
            );
            assert_eq!(lines.lines().count(), 1, "{lines}");
        }
    }
}
