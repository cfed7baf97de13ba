//! What `explain` and `doctor` say to people, in French and in English: one table for each language, of one shape, so that the compiler
//! finds what a language lacks.

mod doctor;
mod english;
mod failures;
mod french;

use clap::ValueEnum;
pub(super) use doctor::DoctorTexts;

use crate::policy::Reason;

/// A language people are spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// French
    Fr,
    /// English
    En,
}

/// `--lang`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct LanguageFlag {
    /// Language of the explanation [default: that of LANG]
    #[arg(long, value_enum, value_name = "LANG")]
    lang: Option<Language>,
}

/// One language.
pub(super) struct Words {
    /// Everything that depends on nothing.
    pub(super) texts: Texts,
    /// In the order of [`Reason::ALL`].
    reasons: &'static [(Reason, ReasonWords)],
    /// By the name of the alert in the TLS library.
    alerts: &'static [(&'static str, FailureWords)],
    /// By the id of the check.
    checks: &'static [(&'static str, &'static str)],
    /// Handshakes that failed on our side.
    failures: &'static FailureTable,
    /// What the doctor says.
    pub(super) doctor: &'static DoctorTexts,
}

/// What is said of a reason; `docs/reasons.md` says the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReasonWords {
    /// What it means.
    pub(super) meaning: &'static str,
    /// What to do.
    pub(super) remedy: &'static str,
    /// What should have been there; empty where the remedy says it all.
    pub(super) expected: &'static str,
}

/// What is said of a handshake that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailureWords {
    /// What it means.
    pub(super) meaning: &'static str,
    /// What to do.
    pub(super) remedy: &'static str,
}

/// Handshakes that failed without an alert.
pub(super) struct FailureTable {
    version: FailureWords,
    suite: FailureWords,
    not_tls: FailureWords,
    silent: FailureWords,
    other: FailureWords,
}

/// Words and sentences by themselves.
pub(in crate::cli) struct Texts {
    pub(in crate::cli) session: &'static str,
    pub(in crate::cli) operator: &'static str,
    pub(in crate::cli) face: &'static str,
    pub(in crate::cli) from: &'static str,
    pub(in crate::cli) handshake: &'static str,
    pub(in crate::cli) nothing_agreed: &'static str,
    pub(in crate::cli) asked_for: &'static str,
    pub(in crate::cli) offered: &'static str,
    pub(in crate::cli) chain: &'static str,
    pub(in crate::cli) no_certificate: &'static str,
    pub(in crate::cli) issued_by: &'static str,
    pub(in crate::cli) serial: &'static str,
    pub(in crate::cli) valid: &'static str,
    pub(in crate::cli) until: &'static str,
    pub(in crate::cli) fingerprint: &'static str,
    pub(in crate::cli) usages: &'static str,
    pub(in crate::cli) names: &'static str,
    pub(in crate::cli) checks: &'static str,
    pub(in crate::cli) not_looked_at: &'static str,
    pub(in crate::cli) judged_by: &'static str,
    pub(in crate::cli) list_of: &'static str,
    pub(in crate::cli) crl_until: &'static str,
    pub(in crate::cli) refused: &'static str,
    pub(in crate::cli) at_step: &'static str,
    pub(in crate::cli) requirement: &'static str,
    pub(in crate::cli) said: &'static str,
    pub(in crate::cli) expected: &'static str,
    pub(in crate::cli) compared: &'static str,
    pub(in crate::cli) shown: &'static str,
    pub(in crate::cli) listed: &'static str,
    pub(in crate::cli) same: &'static str,
    pub(in crate::cli) different: &'static str,
    pub(in crate::cli) nothing_listed: &'static str,
    pub(in crate::cli) absent: &'static str,
    pub(in crate::cli) to_do: &'static str,
    pub(in crate::cli) who: &'static str,
    pub(in crate::cli) reproduce: &'static str,
    pub(in crate::cli) events: &'static str,
    pub(in crate::cli) good: &'static str,
    pub(in crate::cli) problem: &'static str,
    pub(in crate::cli) alert: &'static str,
    pub(in crate::cli) unknown: &'static str,
    pub(in crate::cli) ids_are: &'static str,
    pub(in crate::cli) read: &'static str,
    pub(in crate::cli) several: &'static str,
    pub(in crate::cli) actor_operator: &'static str,
    pub(in crate::cli) actor_peer: &'static str,
    pub(in crate::cli) actor_client: &'static str,
    pub(in crate::cli) actor_authority: &'static str,
    pub(in crate::cli) actor_holder: &'static str,
    pub(in crate::cli) actor_nobody: &'static str,
    pub(in crate::cli) event_submitted: &'static str,
    pub(in crate::cli) event_received: &'static str,
    pub(in crate::cli) event_queued: &'static str,
    pub(in crate::cli) event_relayed: &'static str,
    pub(in crate::cli) event_deferred: &'static str,
    pub(in crate::cli) event_next: &'static str,
    pub(in crate::cli) event_bounced: &'static str,
    pub(in crate::cli) event_told: &'static str,
    pub(in crate::cli) event_login: &'static str,
    pub(in crate::cli) event_login_refused: &'static str,
    pub(in crate::cli) event_refused: &'static str,
    pub(in crate::cli) event_repeated: &'static str,
    pub(in crate::cli) event_examined: &'static str,
    pub(in crate::cli) event_handshake_failed: &'static str,
    pub(in crate::cli) event_opened: &'static str,
}

impl LanguageFlag {
    /// The language asked for, else that of the environment.
    pub(super) fn words(self) -> &'static Words {
        let language = self.lang.unwrap_or_else(|| {
            let variables = ["LC_ALL", "LC_MESSAGES", "LANG"];
            let set = variables
                .iter()
                .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
            Language::of(&set.unwrap_or_default())
        });
        language.words()
    }
}

impl Language {
    fn of(locale: &str) -> Self {
        if locale.to_ascii_lowercase().starts_with("fr") {
            Self::Fr
        } else {
            Self::En
        }
    }

    /// Its table.
    pub(super) fn words(self) -> &'static Words {
        match self {
            Self::Fr => &french::WORDS,
            Self::En => &english::WORDS,
        }
    }
}

impl Words {
    /// What is said of a reason.
    pub(super) fn reason(&self, reason: Reason) -> ReasonWords {
        let found = self.reasons.iter().find(|(known, _)| *known == reason);
        // A test finds every reason in both tables.
        found.map_or(
            ReasonWords {
                meaning: "",
                remedy: "",
                expected: "",
            },
            |(_, words)| *words,
        )
    }

    /// The name of a check for people; the id of one that is not known.
    pub(super) fn check<'a>(&self, id: &'a str) -> &'a str {
        let found = self.checks.iter().find(|(known, _)| *known == id);
        found.map_or(id, |(_, name)| *name)
    }

    /// What is said of a handshake that failed: by the alert the other end sent, else by the problem in the library's words.
    pub(super) fn failure(&self, alert: &str, problem: &str) -> FailureWords {
        let table = self.failures;
        let says = |words: &[&str]| words.iter().any(|word| problem.contains(word));
        if let Some((_, words)) = self.alerts.iter().find(|(known, _)| *known == alert) {
            *words
        } else if says(&[
            // Clients of TLS 1.2 and later send this extension.
            "SignatureAlgorithmsExtensionRequired",
            "Tls12NotOffered",
            "SupportedVersions",
            "Tls13Required",
            "no common protocol version",
        ]) {
            table.version
        } else if says(&[
            "NoCipherSuitesInCommon",
            "NoKxGroupsInCommon",
            "NoEcPointFormats",
            "NoSignatureSchemes",
        ]) {
            table.suite
        } else if says(&["corrupt message", "InvalidContentType", "got ApplicationData when"]) {
            table.not_tls
        } else if says(&["silent", "nothing happened", "eof", "closed", "reset", "unexpected end"]) {
            table.silent
        } else {
            table.other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_told_in_both_languages_and_as_the_page_does() {
        let page = include_str!("../../../docs/reasons.md");
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            let (english, french) = (Language::En.words(), Language::Fr.words());
            assert_eq!((english.reasons[place].0, french.reasons[place].0), (reason, reason));
            let row = page.lines().find(|line| line.contains(&format!("| `{reason}` |")));
            let row = row.unwrap_or_else(|| panic!("{reason} is not documented"));
            for words in [english.reason(reason).meaning, english.reason(reason).remedy] {
                assert!(
                    row.contains(words),
                    "docs/reasons.md does not say {words:?} of {reason}"
                );
            }
            let (en, fr) = (english.reason(reason), french.reason(reason));
            assert!(!fr.meaning.is_empty() && !fr.remedy.is_empty(), "{reason}");
            assert_ne!(fr.meaning, en.meaning);
            assert_eq!(fr.expected.is_empty(), en.expected.is_empty(), "{reason}");
        }
        assert_eq!(Language::En.words().reasons.len(), Reason::ALL.len());
        assert_eq!(Language::Fr.words().reasons.len(), Reason::ALL.len());
    }

    #[test]
    fn every_check_and_alert_is_told_in_both_languages() {
        for id in crate::pki::CheckId::ALL {
            for language in [Language::En, Language::Fr] {
                let known = language.words().checks.iter().any(|(known, _)| *known == id.id());
                assert!(known, "{id} in {language:?}");
            }
        }
        let names =
            |language: Language| -> Vec<&str> { language.words().alerts.iter().map(|(name, _)| *name).collect() };
        assert_eq!(names(Language::En), names(Language::Fr));
        let alert = format!("{:?}", rustls::AlertDescription::UnknownCA);
        assert!(names(Language::En).contains(&alert.as_str()));
    }

    #[test]
    fn the_language_is_that_of_the_locale() {
        for (locale, language) in [
            ("fr_FR.UTF-8", Language::Fr),
            ("en_GB", Language::En),
            ("C", Language::En),
            ("", Language::En),
        ] {
            assert_eq!(Language::of(locale), language, "{locale}");
        }
    }
}
