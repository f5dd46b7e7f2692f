//! An authority of the tests' own, and certificates by it.

use std::fs;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// An authority with a directory, in which its own certificate is `ca.pem`.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// A certificate with its key, for a client.
pub struct Identity {
    pub certificate: CertificateDer<'static>,
    pub key: PrivateKeyDer<'static>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = named("The tests' authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    /// A file in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Its own certificate.
    pub fn root(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// Writes `chain.pem` and `key.pem` of a broker on this machine; returns the certificate.
    pub fn certify_broker(&self) -> CertificateDer<'static> {
        let names = vec![String::from("localhost"), String::from("127.0.0.1")];
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path("chain.pem"), certificate.pem()).unwrap();
        fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
        certificate.der().clone()
    }

    /// A client with this common name in an organisation, and these host names.
    pub fn certify_client(&self, common_name: &str, hosts: &[&str]) -> Identity {
        let mut params = named(common_name);
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        params.subject_alt_names = CertificateParams::new(hosts).unwrap().subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        Identity {
            certificate: params.signed_by(&key, &self.issuer).unwrap().der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }

    /// The sections `listeners` and `tls` of a broker with the certificate that was written last.
    pub fn config(&self, verify: &str) -> String {
        let path = |name| self.path(name).display().to_string();
        let client_ca = if verify == "none" {
            String::new()
        } else {
            path("ca.pem")
        };
        format!(
            "listeners.amqps = ['127.0.0.1:0']\n\
             tls = {{ certificate = '{}', key = '{}', client_ca = '{client_ca}', verify = '{verify}' }}\n",
            path("chain.pem"),
            path("key.pem"),
        )
    }
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}
