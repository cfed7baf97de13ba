//! Certificates that OpenSSL issues: those of a field of one's own, and what a thief of the sandbox's authority could make.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Certificate, Program};

/// An authority whose key is at hand.
pub(crate) struct Pki {
    folder: PathBuf,
    /// Its own certificate and key.
    pub(crate) authority: Certificate,
}

/// Subject in the order of the field: country, department, organisation, structure, name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) department: &'a str,
    pub(crate) organisation: &'a str,
    pub(crate) structure: &'a str,
    pub(crate) name: &'a str,
}

impl Named<'_> {
    /// As the allow list writes it.
    pub(crate) fn listed(&self) -> String {
        format!(
            "CN={},OU={},O={},ST={},C=FR",
            self.name, self.structure, self.organisation, self.department
        )
    }

    fn slashed(&self) -> String {
        format!(
            "/C=FR/ST={}/O={}/OU={}/CN={}",
            self.department, self.organisation, self.structure, self.name
        )
    }
}

impl Pki {
    /// A new root in `folder`.
    pub(crate) fn root(folder: &Path, name: &str) -> Self {
        let authority = files(folder, name);
        key(&authority.key);
        openssl()
            .args(["req", "-x509", "-new", "-utf8", "-days", "30", "-subj"])
            .arg(format!("/C=FR/O=Test only/CN={name}"))
            .args(["-addext", "keyUsage=critical,keyCertSign,cRLSign", "-key"])
            .arg(&authority.key)
            .arg("-out")
            .arg(&authority.certificate)
            .run()
            .assert_success();
        Self {
            folder: folder.to_owned(),
            authority,
        }
    }

    /// The issuing authority of a sandbox, out of its data folder; what it issues goes to `folder`.
    pub(crate) fn of_sandbox(data: &Path, folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            authority: Certificate {
                certificate: data.join("authority/intermediate.pem"),
                key: data.join("authority/intermediate.key"),
            },
        }
    }

    /// A certificate of a server that is also a client, good for a month. `file` names its files.
    pub(crate) fn issue(&self, file: &str, subject: Named<'_>) -> Certificate {
        self.sign(file, subject, &["-days", "30"])
    }

    /// One whose time is over.
    pub(crate) fn issue_expired(&self, file: &str, subject: Named<'_>) -> Certificate {
        self.sign(
            file,
            subject,
            &["-startdate", "20240101000000Z", "-enddate", "20250101000000Z"],
        )
    }

    fn sign(&self, file: &str, subject: Named<'_>, validity: &[&str]) -> Certificate {
        let issued = files(&self.folder, file);
        let at = |ending: &str| self.folder.join(format!("{file}.{ending}"));
        key(&issued.key);
        openssl()
            .args(["req", "-new", "-utf8", "-subj", &subject.slashed(), "-key"])
            .arg(&issued.key)
            .arg("-out")
            .arg(at("csr"))
            .run()
            .assert_success();
        fs::write(at("index"), "").unwrap();
        fs::write(at("cnf"), self.configuration(&at("index"), subject.name)).unwrap();
        openssl()
            .args([
                "ca",
                "-batch",
                "-notext",
                "-md",
                "sha256",
                "-utf8",
                "-preserveDN",
                "-config",
            ])
            .arg(at("cnf"))
            .args(validity)
            .arg("-in")
            .arg(at("csr"))
            .arg("-out")
            .arg(&issued.certificate)
            .run()
            .assert_success();
        let chain = [&issued.certificate, &self.authority.certificate].map(|path| fs::read(path).unwrap());
        fs::write(&issued.certificate, chain.concat()).unwrap();
        issued
    }

    fn configuration(&self, index: &Path, name: &str) -> String {
        format!(
            "[ca]\ndefault_ca=own\n[own]\ndatabase={}\nnew_certs_dir={}\ncertificate={}\nprivate_key={}\npolicy=any\nrand_serial=yes\nx509_extensions=peer\n\
             [any]\ncountryName=optional\nstateOrProvinceName=optional\norganizationName=optional\n\
             organizationalUnitName=optional\ncommonName=supplied\n\
             [peer]\nbasicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\n\
             extendedKeyUsage=serverAuth,clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n\
             subjectAltName=DNS:{name},DNS:localhost,IP:127.0.0.1\n",
            index.display(),
            self.folder.display(),
            self.authority.certificate.display(),
            self.authority.key.display(),
        )
    }
}

fn openssl() -> Program {
    Program::new("openssl")
}

fn key(path: &Path) {
    openssl()
        .args([
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
        ])
        .arg(path)
        .run()
        .assert_success();
}

fn files(folder: &Path, name: &str) -> Certificate {
    Certificate {
        certificate: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
    }
}
