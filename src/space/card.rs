//! What a raised space tells its user: endpoints, logins with their files, and lines to type.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use serde::{Deserialize, Serialize};

/// Everything needed to use a running space. `up --json` prints it, `up` shows it as tables, and it stays in the data folder
/// as `card.json` for commands that run beside the space.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Card {
    /// Name of the space.
    pub space: String,
    /// The data folder.
    pub data: String,
    /// PEM file with the root and the intermediate of the authority.
    pub ca: String,
    /// Where readiness, CRLs and the allow list are served.
    pub web: String,
    /// The same over HTTPS, with a certificate of the authority.
    #[serde(default)]
    pub web_tls: String,
    /// Where the space's zones are served, over UDP and TCP: `127.0.0.1:10053`.
    #[serde(default)]
    pub dns: String,
    /// Every listening address.
    pub endpoints: Vec<Endpoint>,
    /// Every login.
    pub logins: Vec<LoginCard>,
    /// Lines to type, in the order of a first visit.
    pub commands: Vec<CommandLine>,
}

/// A listening address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// Key of the operator.
    pub operator: String,
    /// `smtp`, `submission`, `submissions`, `imap`, `imaps`.
    pub face: String,
    /// Host name it greets with.
    pub host: String,
    /// `127.0.0.1:2587`
    pub address: String,
    /// What it asks of a client.
    pub security: String,
}

/// A login and its files.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct LoginCard {
    /// Its name in the space file; also the name of its folder.
    pub name: String,
    /// Key of the operator.
    pub operator: String,
    /// `certificate` or `password`.
    pub kind: String,
    /// Boxes it may use.
    pub boxes: Vec<String>,
    /// User name, for a password login.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user: Option<String>,
    /// Password, for a password login of the sandbox.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub password: Option<String>,
    /// PEM chain, for a certificate login.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub certificate: Option<String>,
    /// PEM key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// PKCS#12 file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pkcs12: Option<String>,
    /// Password of the PKCS#12 file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pkcs12_password: Option<String>,
}

/// A line to type.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CommandLine {
    /// Stable name for scripts: `send-curl`, `read-curl`.
    pub name: String,
    /// What it does.
    pub what: String,
    /// The line, for a POSIX shell.
    pub line: String,
}

impl Card {
    /// The address of a face of an operator; the first when it has several.
    pub fn address(&self, operator: &str, face: &str) -> Option<&str> {
        let mut endpoints = self.endpoints.iter();
        endpoints
            .find(|e| e.operator == operator && e.face == face)
            .map(|e| e.address.as_str())
    }

    /// Tables and lines for a person.
    pub fn to_text(&self) -> String {
        let commands: Vec<String> = self
            .commands
            .iter()
            .map(|line| {
                format!(
                    "# {}
{}

",
                    line.what, line.line
                )
            })
            .collect();
        format!(
            "Space \"{}\" is up.\nData: {}\nAuthority certificates (trust these in your client): {}\nReadiness, CRL, allow list, autoconfiguration: {}, {}\nZones of its domains, over DNS: {}\n\n{}\n\n{}\n\n{}Ctrl-C stops it.\n",
            self.space,
            self.data,
            self.ca,
            self.web,
            self.web_tls,
            self.dns,
            self.endpoint_table(),
            self.login_table(),
            commands.concat()
        )
    }

    fn endpoint_table(&self) -> Table {
        let mut table = plain_table(&["operator", "face", "address", "host", "asks for"]);
        for e in &self.endpoints {
            table.add_row([&e.operator, &e.face, &e.address, &e.host, &e.security]);
        }
        table
    }

    fn login_table(&self) -> Table {
        let mut table = plain_table(&["login", "operator", "boxes", "with"]);
        for login in &self.logins {
            let with = match (&login.user, &login.password, &login.pkcs12) {
                (Some(user), Some(password), _) => format!("user {user}, password {password}"),
                (_, _, Some(p12)) => format!(
                    "{p12} (password {}), cert.pem, key.pem",
                    login.pkcs12_password.as_deref().unwrap_or("")
                ),
                _ => String::new(),
            };
            table.add_row([login.name.clone(), login.operator.clone(), login.boxes.join("\n"), with]);
        }
        table
    }
}

/// A table that survives being copied into a ticket: no colours, light borders.
pub(super) fn plain_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    table
}
