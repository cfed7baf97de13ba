//! The catalogue as a page: `docs/catalogue.md`, and `vaguemestre certlab list --markdown`.

use std::fmt::Write as _;

use super::catalogue::{Catalogue, Defect, Face, Outcome, SecondJudge};

impl Catalogue {
    /// The whole page, Markdown.
    pub fn to_markdown(&self) -> String {
        let controls = self.all().iter().filter(|defect| defect.is_control()).count();
        let mut page = format!(
            "# Certificate catalogue\n\n\
             {} defects and {controls} controls, made from `certs/defects.toml` by `vaguemestre certlab list --markdown`. Each is wrong \
             in one point only; a control in none.\n\n\
             What a face must do: **accept**; a reason of [reasons.md](reasons.md), said in the protocol after the handshake (on the \
             sending face: before any mail is given); **handshake**, the handshake itself fails; **either**, both are right. A dash: the \
             face cannot meet it. *Peer in*: an operator connects to us. *Peer out*: we connect to an operator. *Software*: submission \
             and IMAP, where a client certificate is optional: the session lives, the login is refused.\n",
            self.all().len() - controls
        );
        let mut group = None;
        for defect in self.all() {
            if group != Some(defect.group) {
                group = Some(defect.group);
                let title = heading(defect.group.id());
                line(&mut page, &format!("\n## {title}\n"));
                line(
                    &mut page,
                    "| Defect | What is wrong | Peer in | Peer out | Software | What accepting it costs | What to look at |",
                );
                line(&mut page, "|---|---|---|---|---|---|---|");
            }
            line(&mut page, &row(defect));
        }
        line(&mut page, "\n## Notes\n");
        for defect in self.all() {
            if let Some(note) = &defect.note {
                let judge = match defect.openssl {
                    SecondJudge::Good => " `openssl verify` finds the chain good.",
                    SecondJudge::Bad => " `openssl verify` finds the chain bad.",
                    SecondJudge::Agrees | SecondJudge::Silent => "",
                };
                line(&mut page, &format!("- `{}`: {note}{judge}", defect.id));
            }
        }
        page
    }
}

fn row(defect: &Defect) -> String {
    let face = |face| defect.expected(face).map_or_else(|| "–".to_owned(), shown);
    let (submission, imap) = (face(Face::Submission), face(Face::Imap));
    let software = if submission == imap {
        submission
    } else {
        format!("{submission}; IMAP: {imap}")
    };
    // For what must be accepted, the cost is that of refusing it: the table's own words say so.
    format!(
        "| `{}` | {} | {} | {} | {software} | {} | {} |",
        defect.id,
        defect.title,
        face(Face::PeerIn),
        face(Face::PeerOut),
        defect.why,
        defect.remedy
    )
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accept => "**accept**".to_owned(),
        Outcome::Refuse(reason) => format!("`{}`", reason.id()),
        Outcome::RefuseHandshake => "**handshake**".to_owned(),
        Outcome::Either => "**either**".to_owned(),
    }
}

fn heading(id: &str) -> String {
    match id {
        "ocsp" => "OCSP".to_owned(),
        "control" => "Controls".to_owned(),
        "names" => "Alternative names".to_owned(),
        "suite" => "Suites".to_owned(),
        other => other[..1].to_uppercase() + &other[1..],
    }
}

fn line(page: &mut String, text: &str) {
    let written = writeln!(page, "{text}");
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_the_documentation_is_the_one_made_from_the_table() {
        let made = Catalogue::embedded().unwrap().to_markdown();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/catalogue.md");
        if std::env::var_os("UPDATE_PAGES").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            made == kept,
            "docs/catalogue.md is out of date: UPDATE_PAGES=1 cargo test --lib lab::page writes it"
        );
    }
}
