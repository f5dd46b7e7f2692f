//! Certificates from files to what a TLS handshake needs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{self, InconsistentKeys, RootCertStore, ServerConfig, version};

/// Where the certificates are, all in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The broker's certificate, and after it those between it and its authority.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// What clients are asked for; none asks for nothing.
    pub clients: Option<ClientCertificates>,
}

/// What certificates clients show.
#[derive(Clone, Debug)]
pub struct ClientCertificates {
    /// The authorities that may have made them.
    pub ca: PathBuf,
    /// Whether a client without one is refused.
    pub are_required: bool,
}

/// Files that TLS can not be spoken with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It can not be read.
    #[error("cannot read the TLS {what} in {}: it must be there, and readable for the user that runs the broker", .path.display())]
    Unreadable {
        /// What the file should hold.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not PEM, or PEM of something else.
    #[error("{} holds no TLS {what}: {advice}", .path.display())]
    Unfit {
        /// What the file should hold.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What would be right.
        advice: &'static str,
        /// Why.
        source: pem::Error,
    },
    /// Certificate and key are no pair.
    #[error("the TLS key in {} is not the one of the certificate in {}: give the pair", .key.display(), .certificate.display())]
    OtherKey {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Certificate and key can be read but not used.
    #[error("cannot use the TLS certificate in {} with the key in {}", .certificate.display(), .key.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// One of the authorities can not be trusted.
    #[error("cannot use a certificate in {} as an authority of clients", .path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

const CERTIFICATE_ADVICE: &str =
    "it must be PEM (-----BEGIN CERTIFICATE-----), with the certificate of the broker first";
const KEY_ADVICE: &str = "it must be PEM, in PKCS#8, PKCS#1 or SEC1, and not encrypted; openssl pkey -in FILE -out FILE decrypts it";
const CA_ADVICE: &str =
    "it must be PEM (-----BEGIN CERTIFICATE-----), with the certificates of all authorities of clients";

/// Reads the files and makes of them what TLS handshakes need. Resumed sessions are known to the result only, so that
/// nobody resumes what other files allowed.
///
/// # Errors
/// When a file is missing or unfit, with the file's name.
pub fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates("certificate", &files.certificate, CERTIFICATE_ADVICE)?;
    let key = PrivateKeyDer::from_pem_slice(&read("key", &files.key)?)
        .map_err(unfit("key", &files.key, KEY_ADVICE))?;
    let versions = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .expect("the provider has ciphers for both versions");
    let builder = match &files.clients {
        None => versions.with_no_client_auth(),
        Some(clients) => versions.with_client_cert_verifier(verifier(clients, provider)?),
    };
    let (certificate, key_file) = (files.certificate.clone(), files.key.clone());
    let config = builder
        .with_single_cert(chain, key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::OtherKey {
                certificate,
                key: key_file,
            },
            source => TlsError::Unusable {
                certificate,
                key: key_file,
                source,
            },
        })?;
    Ok(Arc::new(config))
}

fn verifier(
    clients: &ClientCertificates,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates("authority", &clients.ca, CA_ADVICE)? {
        roots.add(authority).map_err(|source| TlsError::Authority {
            path: clients.ca.clone(),
            source,
        })?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if clients.are_required {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    Ok(builder
        .build()
        .expect("there is an authority, and no revocation list"))
}

/// At least one.
fn certificates(
    what: &'static str,
    path: &Path,
    advice: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(what, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(unfit(what, path, advice)(pem::Error::NoItemsFound)),
        other => other.map_err(unfit(what, path, advice)),
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable {
        what,
        path: path.to_owned(),
        source,
    })
}

fn unfit(what: &'static str, path: &Path, advice: &'static str) -> impl FnOnce(pem::Error) -> TlsError {
    move |source| TlsError::Unfit {
        what,
        path: path.to_owned(),
        advice,
        source,
    }
}
