//! The configuration of `vaguemestre serve`: one operator of a trust space whose authority is elsewhere.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::declared::Declared;
use super::directory::DirectorySection;
use super::error::{ConfigError, ConfigErrors, Warning};
use super::file;
use super::journal::Journal;
use super::limits::Limits;
use super::listen::Listen;
use super::login::{Issuer, Login};
use super::operator::{SIZE_DEFAULT, SIZE_LARGEST, SIZE_SMALLEST};
use super::postmaster::Postmaster;
use super::reader::{self, NamedFile, Section};
use super::relay::Relay;
use super::retention::{Quota, Retention};
use super::search::Search;
use super::sending;
use super::tls::Tls;
use super::trust::Trust;
use crate::directory::{Directory, DirectoryError};
use crate::identity::{Domain, SubjectDn};
use crate::policy::submission::Rules;

/// One operator, as configured.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// The name it gives itself in greetings, EHLO and `Received`.
    pub host: Domain,
    /// Its mail domains; never empty.
    pub domains: Vec<Domain>,
    /// Largest message it takes, in bytes of the encoded message.
    pub size_bytes_max: u64,
    /// Folder of the store; made at the first start.
    pub data_folder: PathBuf,
    /// Where it listens.
    pub listen: Listen,
    /// Its certificates.
    pub tls: Tls,
    /// Whom it believes.
    pub trust: Trust,
    /// How mail leaves.
    pub relay: Relay,
    /// What is asked of its users' messages.
    pub sending: Rules,
    /// What it allows at most.
    pub limits: Limits,
    /// What a box may hold, in bytes, unless it says otherwise; `None`: no limit.
    pub quota_bytes: Option<u64>,
    /// How long things are kept.
    pub retention: Retention,
    /// What is indexed for searches.
    pub search: Search,
    /// What its journal keeps beside every decision.
    pub journal: Journal,
    /// Who is who.
    pub directory: DirectorySection,
    data_folder_named: NamedFile,
    files: Vec<NamedFile>,
}

impl Gateway {
    /// The documented example: every key with its unit, its default and the reason.
    pub const EXAMPLE_TEXT: &str = include_str!("../../config/gateway.toml");

    /// Reads a configuration from a file; relative paths in it start from its folder.
    pub fn load(path: &Path) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        Self::parse(&file::load(path)?, &path.display().to_string())
    }

    /// Reads a configuration; all mistakes come back at once, in the order of the lines. Files it names are not looked at.
    pub fn parse(text: &str, file_name: &str) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        reader::read(text, file_name, Self::read)
    }

    /// Checks that every file it names can be read and holds something, and that the data folder is none of them.
    pub fn verify_files(&self) -> Result<(), ConfigErrors> {
        let mut errors: Vec<ConfigError> = self.files.iter().filter_map(unusable_file).collect();
        errors.extend(unusable_folder(&self.data_folder_named));
        if errors.is_empty() {
            Ok(())
        } else {
            Err(ConfigErrors::new(errors))
        }
    }

    /// Its directory. `subject_of` reads the subject of a login that names a PEM file; without it the login opens nothing.
    pub fn directory(&self, subject_of: impl Fn(&Login) -> Option<SubjectDn>) -> Result<Directory, DirectoryError> {
        let mut directory = self.directory.build(self.domains.clone(), subject_of)?;
        directory.set_quota_default(self.quota_bytes);
        Ok(directory)
    }

    pub(super) fn read(root: &Section<'_>) -> Option<Self> {
        let (operator, postmaster) = root.required_section("operator").map(OperatorSection::read).unzip();
        let data = root.required_section("data").map(read_data);
        let listen = root.required_section("listen").map(Listen::read);
        let tls = root.required_section("tls").map(Tls::read);
        let trust = root.required_section("trust").map(Trust::read);
        let relay = Relay::read(root.section("relay"));
        let sending = sending::read(root.section("sending"));
        let limits = Limits::read(root.section("limits"));
        let retention = Retention::read(root.section("retention"));
        let search = Search::read(root.section("search"));
        let journal = Journal::read(root.section("journal"));
        let domains = operator
            .as_ref()
            .map(|operator| operator.domains.clone())
            .unwrap_or_default();
        let postmaster = postmaster.unwrap_or_else(|| Postmaster::read(root));
        let mut declared = Declared::default();
        let directory = DirectorySection::read(root, (&domains, postmaster), Issuer::Elsewhere, &mut declared);
        let data_folder_named = data.flatten();
        let files = root.named_files();
        let operator = operator?;
        let data_folder_named = data_folder_named?;
        Some(Self {
            host: operator.host?,
            domains,
            size_bytes_max: operator.size_bytes_max,
            quota_bytes: operator.quota_bytes,
            retention,
            search,
            data_folder: data_folder_named.path.clone(),
            listen: listen?,
            tls: tls??,
            trust: trust??,
            relay,
            sending,
            limits,
            journal,
            directory,
            data_folder_named,
            files,
        })
    }
}

/// `[operator]`.
struct OperatorSection {
    host: Option<Domain>,
    domains: Vec<Domain>,
    size_bytes_max: u64,
    quota_bytes: Option<u64>,
}

impl OperatorSection {
    fn read(section: Section<'_>) -> (Self, Postmaster) {
        let host = section.required::<Domain>("host");
        let listed = section.required_list::<Domain>("domains");
        let size = section.within("size_max", SIZE_DEFAULT, SIZE_SMALLEST..=SIZE_LARGEST);
        let quota_bytes = Quota::read(&section).and_then(|quota| quota.0);
        let postmaster = Postmaster::read(&section);
        let mut declared = Declared::default();
        for domain in &listed {
            declared
                .domains
                .declare(&section, domain, format_args!("domain {}", domain.value));
        }
        section.close();
        let operator = Self {
            host: host.map(|host| host.value),
            domains: listed.into_iter().map(|domain| domain.value).collect(),
            size_bytes_max: size.0,
            quota_bytes,
        };
        (operator, postmaster)
    }
}

/// `[data]`. The folder is kept apart from the files: it need not exist yet.
fn read_data(section: Section<'_>) -> Option<NamedFile> {
    let folder = section.required::<PathBuf>("folder");
    let named = folder.map(|at| NamedFile {
        key: "data.folder".into(),
        path: section.resolve(&at.value),
        place: section.place(&at),
    });
    section.close();
    named
}

fn unusable_file(file: &NamedFile) -> Option<ConfigError> {
    let fail = |problem: String, remedy: &str| {
        Some(ConfigError {
            place: file.place.clone(),
            problem: format!("`{}`: {} {problem}", file.key, file.path.display()),
            remedy: remedy.to_owned(),
        })
    };
    match File::open(&file.path).and_then(|open| open.metadata()) {
        Err(error) => fail(
            format!("cannot be read: {error}"),
            "correct the path, or give this user the right to read it",
        ),
        Ok(meta) if meta.is_dir() => fail("is a folder".into(), "name the file itself"),
        Ok(meta) if meta.len() == 0 => fail("is empty".into(), "put the file there again"),
        Ok(_) => None,
    }
}

fn unusable_folder(folder: &NamedFile) -> Option<ConfigError> {
    let is_file = std::fs::metadata(&folder.path).is_ok_and(|meta| !meta.is_dir());
    is_file.then(|| ConfigError {
        place: folder.place.clone(),
        problem: format!("`{}`: {} is a file", folder.key, folder.path.display()),
        remedy: "name a folder; it is made at the first start".to_owned(),
    })
}
