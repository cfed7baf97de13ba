//! The story as text.

use std::fmt::Write;

use super::story::{Failed, Story, Told};
use super::verdict::{Compared, Verdict};
use crate::cli::words::Words;
use crate::journal::{Examined, Excerpt, Negotiated, ShownCertificate};

/// Writes it in the words of a language.
pub(super) fn text(story: &Story, words: &Words) -> String {
    let mut page = Page {
        text: String::new(),
        words,
    };
    for told in &story.sessions {
        page.session(told);
    }
    page.text
}

struct Page<'a> {
    text: String,
    words: &'a Words,
}

impl Page<'_> {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        if self.text.write_fmt(line).is_ok() {
            self.text.push('\n');
        }
    }

    fn title(&mut self, title: &str) {
        self.line(format_args!("\n{title}"));
    }

    fn session(&mut self, told: &Told) {
        let texts = &self.words.texts;
        if !self.text.is_empty() {
            self.line(format_args!("\n────────"));
        }
        let face = if told.face.is_empty() {
            String::new()
        } else {
            format!(", {} {}", texts.face, told.face)
        };
        self.line(format_args!(
            "{} {} · {} {}{face}",
            texts.session, told.session, texts.operator, told.operator
        ));
        let peer = match (told.peer_ip.as_str(), told.peer.as_str()) {
            ("", "") => String::new(),
            (ip, "") => format!(" · {} {ip}", texts.from),
            ("", peer) => format!(" · {peer}"),
            (ip, peer) => format!(" · {} {ip} · {peer}", texts.from),
        };
        self.line(format_args!("{}{peer}", told.began));
        let mut shown_before = "";
        for examined in &told.examined {
            let leaf = examined
                .chain
                .first()
                .map(|leaf| leaf.fingerprint.as_str())
                .unwrap_or_default();
            self.evidence(examined, leaf != shown_before || leaf.is_empty());
            shown_before = leaf;
        }
        for failed in &told.failed {
            self.failed(failed);
        }
        for verdict in &told.refusals {
            self.verdict(verdict);
        }
        self.title(texts.events);
        for line in &told.lines {
            self.line(format_args!("  {}  {}", line.at, line.text));
        }
        if told.refusals.is_empty() && told.failed.is_empty() {
            self.line(format_args!("{}", texts.good));
        }
    }

    fn evidence(&mut self, examined: &Examined, with_chain: bool) {
        let texts = &self.words.texts;
        if with_chain {
            self.handshake(&examined.tls);
            self.title(texts.chain);
            if examined.chain.is_empty() {
                self.line(format_args!("  {}", texts.no_certificate));
            }
            for (place, certificate) in examined.chain.iter().enumerate() {
                self.certificate(place + 1, certificate);
            }
        }
        self.title(texts.checks);
        for check in &examined.checks {
            let mark = match check.outcome.as_str() {
                "passed" => '✓',
                "failed" => '✗',
                _ => '–',
            };
            let detail = if check.detail.is_empty() && mark == '–' {
                texts.not_looked_at
            } else {
                check.detail.as_str()
            };
            let name = self.words.check(check.id.as_str());
            self.line(format_args!("  {mark} {name:<24} {detail}"));
        }
        let crl = if examined.crl_next_update.is_empty() {
            String::new()
        } else {
            format!("; {} {}", texts.crl_until, examined.crl_next_update)
        };
        self.line(format_args!(
            "  {}: {} {}{crl}",
            texts.judged_by, texts.list_of, examined.list_generated
        ));
    }

    fn handshake(&mut self, tls: &Negotiated) {
        let texts = &self.words.texts;
        self.title(texts.handshake);
        if tls.version.is_empty() {
            self.line(format_args!("  {}", texts.nothing_agreed));
        } else {
            self.line(format_args!("  {}, {}", tls.version, tls.suite));
        }
        if !tls.server_name.is_empty() {
            self.line(format_args!("  {}: {}", texts.asked_for, tls.server_name));
        }
        if !tls.offered.is_empty() {
            self.line(format_args!("  {}: {}", texts.offered, joined(&tls.offered)));
        }
    }

    fn certificate(&mut self, place: usize, certificate: &ShownCertificate) {
        let texts = &self.words.texts;
        self.line(format_args!("  {place}. {}", certificate.subject));
        self.line(format_args!("     {} {}", texts.issued_by, certificate.issuer));
        self.line(format_args!(
            "     {} {}, {} {} {} {}, {}, {}",
            texts.serial,
            certificate.serial.as_str(),
            texts.valid,
            certificate.not_before,
            texts.until,
            certificate.not_after,
            certificate.key,
            certificate.signature
        ));
        self.line(format_args!(
            "     {} {}",
            texts.fingerprint,
            certificate.fingerprint.as_str()
        ));
        if !certificate.usages.is_empty() {
            self.line(format_args!("     {}: {}", texts.usages, joined(&certificate.usages)));
        }
        if !certificate.names.is_empty() {
            self.line(format_args!("     {}: {}", texts.names, joined(&certificate.names)));
        }
    }

    fn failed(&mut self, failed: &Failed) {
        let texts = &self.words.texts;
        self.handshake(&failed.event.tls);
        self.line(format_args!("  {}: {}", texts.problem, failed.event.problem));
        if !failed.event.alert.is_empty() {
            self.line(format_args!("  {}: {}", texts.alert, failed.event.alert));
        }
        self.line(format_args!("  {}", failed.meaning));
        self.title(texts.to_do);
        self.line(format_args!("  {}", failed.remedy));
    }

    fn verdict(&mut self, verdict: &Verdict) {
        let texts = &self.words.texts;
        self.title(&format!(
            "{}: {} ({}), {} « {} »",
            texts.refused, verdict.reason, verdict.code, texts.at_step, verdict.stage
        ));
        self.line(format_args!("  {}", verdict.meaning));
        if !verdict.said.is_empty() {
            self.line(format_args!("  {}: {}", texts.said, verdict.said));
        }
        if !verdict.expected.is_empty() {
            self.line(format_args!("  {}: {}", texts.expected, verdict.expected));
        }
        if !verdict.domain.is_empty() {
            self.line(format_args!("  {} {}:", texts.compared, verdict.domain));
            if verdict.compared.is_empty() {
                self.line(format_args!("    {}", texts.nothing_listed));
            }
        }
        for (place, names) in verdict.compared.iter().enumerate() {
            for part in names {
                self.part(place + 1, part);
            }
        }
        let requirement = if verdict.requirement.is_empty() {
            String::new()
        } else {
            format!("{} {} · ", texts.requirement, verdict.requirement)
        };
        self.line(format_args!("  {requirement}{}", verdict.page));
        self.title(texts.to_do);
        self.line(format_args!("  {}: {}", texts.who, verdict.who));
        self.line(format_args!("  {}", verdict.remedy));
        if !verdict.commands.is_empty() {
            self.title(texts.reproduce);
            for command in &verdict.commands {
                self.line(format_args!("  {command}"));
            }
        }
    }

    fn part(&mut self, place: usize, part: &Compared) {
        let texts = &self.words.texts;
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| texts.absent.to_owned());
        let (shown, listed) = (value(&part.shown), value(&part.listed));
        if part.same {
            self.line(format_args!("    {place}. {:<3} = {shown} ({})", part.kind, texts.same));
        } else {
            self.line(format_args!(
                "    {place}. {:<3} ≠ {} {shown:?}, {} {listed:?} ← {}",
                part.kind, texts.shown, texts.listed, texts.different
            ));
        }
    }
}

fn joined(values: &[Excerpt]) -> String {
    let values: Vec<&str> = values.iter().map(Excerpt::as_str).collect();
    values.join(", ")
}
