//! Orders about domains: added, moved, removed, and shown; and the merger of two operators, which moves them all.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::change_operator::{known, quoted, refuse_under_way, say, summary};
use super::edit::{SpaceText, push};
use super::keeper::{InForce, Keeper};
use super::order::{Answer, OrderError};
use super::people;
use crate::config::{Operator, Space};
use crate::identity::Domain;

/// Gives an operator one more domain, with a box that can be used at once when the sandbox runs it.
pub(super) async fn add(
    keeper: &Keeper,
    in_force: &mut InForce,
    domain: &str,
    key: &str,
) -> Result<Answer, OrderError> {
    let domain = read(domain)?;
    let operator = known(&in_force.space, key)?;
    if let Some(owner) = owner(&in_force.space, &domain) {
        return Err(OrderError::Refused(format!(
            "{domain} belongs to operator {}; `vaguemestre domain move` moves it",
            owner.key
        )));
    }
    refuse_under_way(&in_force.space, |_, leaving| leaving.domain == domain)?;
    let contact = contact_of(operator, &domain);
    let file = keeper.layout().space().display().to_string();
    keeper
        .edit(in_force, |text| {
            push(text.operator(key)?, "domains", domain.as_str());
            match &contact {
                Some(sections) => add_sections(text, key, sections, &file),
                None => Ok(()),
            }
        })
        .await?;
    let mut text = format!("{domain} is listed for operator {key}\n");
    if contact.is_some() {
        say(
            &mut text,
            format_args!("its box contact@{domain} opens with user contact@{domain}, password {PASSWORD}\n"),
        );
    }
    Ok(Answer::new(text, summary(in_force, known(&in_force.space, key)?)))
}

/// Boxes and logins of `sections`, written as those of a space with one operator, go to the operator with that key.
fn add_sections(text: &mut SpaceText, key: &str, sections: &str, file: &str) -> Result<(), OrderError> {
    let mut brought = SpaceText::open(&format!("[[operator]]\nkey = {}\n{sections}", quoted(key)), file)?;
    let mut brought = brought.operator(key)?.clone();
    let operator = text.operator(key)?;
    for kind in ["box", "login"] {
        for section in super::edit::take_sections(&mut brought, kind, |_| true) {
            super::edit::push_section(operator, kind, section);
        }
    }
    Ok(())
}

/// The sections of a box `contact@DOMAIN` at an operator that the sandbox runs and that has a structure to attach it to.
fn contact_of(operator: &Operator, domain: &Domain) -> Option<String> {
    let attached = match (
        operator.directory.establishments.first(),
        operator.directory.entities.first(),
    ) {
        (Some(establishment), _) => format!("establishment = {}", quoted(establishment.finess.as_str())),
        (None, Some(entity)) => format!("entity = {}", quoted(entity.finess.as_str())),
        (None, None) => return None,
    };
    let taken = |name: &str| operator.directory.logins.iter().any(|login| login.name == name);
    let mut names = std::iter::once("contact".to_owned()).chain((2..).map(|n| format!("contact-{n}")));
    let login = names.find(|name| !taken(name))?;
    Some(contact(
        domain.as_str(),
        &login,
        &format!("Contact - {}", operator.name),
        &attached,
    ))
}

/// The sections of a box and its login.
pub(super) fn contact(domain: &str, login: &str, label: &str, attached: &str) -> String {
    let address = quoted(&format!("contact@{domain}"));
    format!(
        "\n[[operator.box]]\naddress = {address}\ntype = \"ORG\"\nlabel = {}\n{attached}\n\n\
         [[operator.login]]\nname = {}\nkind = \"password\"\npassword = {}\nboxes = [{address}]\n",
        quoted(label),
        quoted(login),
        quoted(PASSWORD)
    )
}

/// Moves a domain with its boxes, logins and mail; the old operator stays listed for it until all is copied and sent.
pub(super) async fn move_to(
    keeper: &Keeper,
    in_force: &mut InForce,
    (domain, to): (&str, &str),
    overlap_seconds: Option<u32>,
) -> Result<Answer, OrderError> {
    let domain = read(domain)?;
    known(&in_force.space, to)?;
    let from = owner(&in_force.space, &domain)
        .ok_or_else(|| no_such_domain(&domain))?
        .key
        .clone();
    if from == to {
        return Err(OrderError::Refused(format!(
            "{domain} belongs to operator {to} already"
        )));
    }
    if known(&in_force.space, &from)?.domains.len() == 1 {
        return Err(OrderError::Refused(format!(
            "{domain} is the only domain of operator {from}: `vaguemestre operator merge {from} {to}` moves it and ends the operator"
        )));
    }
    refuse_under_way(&in_force.space, |_, leaving| leaving.domain == domain)?;
    let until = until(keeper.now(), overlap_seconds);
    let changes = keeper
        .edit(in_force, |text| {
            take_over(text, std::slice::from_ref(&domain), (&from, to), until)
        })
        .await?;
    let mut text = changes.text();
    say(&mut text, format_args!("{domain} now belongs to operator {to}\n"));
    text.push_str(&what_follows(in_force, &from, to, until)?);
    Ok(Answer::new(text, moved(&[domain], &from, to, until)))
}

/// Moves every domain of an operator to another, and ends it once all is copied and sent.
pub(super) async fn merge(
    keeper: &Keeper,
    in_force: &mut InForce,
    (from, into): (&str, &str),
    overlap_seconds: Option<u32>,
) -> Result<Answer, OrderError> {
    known(&in_force.space, into)?;
    let domains = known(&in_force.space, from)?.domains.clone();
    if from == into {
        return Err(OrderError::Refused(format!(
            "operator {from} cannot be merged into itself"
        )));
    }
    refuse_under_way(&in_force.space, |key, leaving| {
        key == from || leaving.to == from || domains.contains(&leaving.domain)
    })?;
    let until = until(keeper.now(), overlap_seconds);
    let changes = keeper
        .edit(in_force, |text| take_over(text, &domains, (from, into), until))
        .await?;
    let mut text = changes.text();
    say(
        &mut text,
        format_args!(
            "operator {from} is merged into {into}: {} domains moved\n",
            domains.len()
        ),
    );
    text.push_str(&what_follows(in_force, from, into, until)?);
    Ok(Answer::new(text, moved(&domains, from, into, until)))
}

fn take_over(
    text: &mut SpaceText,
    domains: &[Domain],
    (from, to): (&str, &str),
    until: Timestamp,
) -> Result<(), OrderError> {
    let (mut source, mut target) = (text.operator(from)?.clone(), text.operator(to)?.clone());
    let until = until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    for domain in domains {
        people::move_domain(&mut source, &mut target, domain.as_str());
        people::note_leaving(&mut source, domain.as_str(), to, &until);
    }
    *text.operator(from)? = source;
    *text.operator(to)? = target;
    Ok(())
}

fn until(now: Timestamp, overlap_seconds: Option<u32>) -> Timestamp {
    let overlap = overlap_seconds.map_or(OVERLAP_DEFAULT, |seconds| SignedDuration::from_secs(seconds.into()));
    now.saturating_add(overlap).unwrap_or(Timestamp::MAX)
}

fn what_follows(in_force: &InForce, from: &str, to: &str, until: Timestamp) -> Result<String, OrderError> {
    let until = until.strftime("%Y-%m-%d %H:%M:%S UTC");
    let (old, new) = (known(&in_force.space, from)?, known(&in_force.space, to)?);
    let copying = match (old.is_local(), new.is_local()) {
        (true, true) => "its messages are being copied, folders and flags included; ",
        (true, false) => {
            "its messages stay in the old store, to be fetched over IMAP before the old operator forgets the logins; "
        }
        (false, _) => "its messages are on your server; ",
    };
    Ok(format!(
        "{copying}until {until} at least, and until {from} has sent what it took before, both operators are listed for it\nits certificate logins keep their files; `vaguemestre domain list` shows when the move is over\n"
    ))
}

fn moved(domains: &[Domain], from: &str, to: &str, until: Timestamp) -> Value {
    let domains: Vec<String> = domains.iter().map(ToString::to_string).collect();
    json!({ "domains": domains, "from": from, "to": to, "until": until.to_string() })
}

/// Takes a domain out of the space, with its boxes and logins; what is in the boxes stays on disk.
pub(super) async fn remove(keeper: &Keeper, in_force: &mut InForce, domain: &str) -> Result<Answer, OrderError> {
    let domain = read(domain)?;
    let operator = owner(&in_force.space, &domain).ok_or_else(|| no_such_domain(&domain))?;
    let key = operator.key.clone();
    if operator.domains.len() == 1 {
        return Err(OrderError::Refused(format!(
            "{domain} is the only domain of operator {key}: `vaguemestre operator remove {key}` removes both"
        )));
    }
    refuse_under_way(&in_force.space, |_, leaving| leaving.domain == domain)?;
    keeper
        .edit(in_force, |text| {
            people::drop_domain(text.operator(&key)?, domain.as_str());
            Ok(())
        })
        .await?;
    let text = format!("{domain} is out of the space; what its boxes hold stays in the data of operator {key}\n");
    Ok(Answer::new(text, summary(in_force, known(&in_force.space, &key)?)))
}

/// All domains.
pub(super) fn list(in_force: &InForce) -> Answer {
    let mut table = super::card::plain_table(&["domain", "operator", "listed", "on its way from"]);
    let mut data = Vec::new();
    let origin = |domain: &Domain| {
        let mut operators = in_force.space.operators.iter();
        operators.find(|one| one.leaving.iter().any(|leaving| leaving.domain == *domain))
    };
    for operator in &in_force.space.operators {
        for domain in &operator.domains {
            let from = origin(domain).map(|one| one.key.clone());
            let listed = match operator.standing {
                crate::config::Standing::Active => "yes",
                crate::config::Standing::Suspended => "no",
            };
            table.add_row([domain.as_str(), &operator.key, listed, from.as_deref().unwrap_or("")]);
            data.push(json!({ "domain": domain.to_string(), "operator": operator.key, "listed": listed == "yes", "from": from }));
        }
    }
    Answer::new(format!("{table}\n"), Value::Array(data))
}

fn read(domain: &str) -> Result<Domain, OrderError> {
    domain.parse().map_err(|error| OrderError::Refused(format!("{error}")))
}

fn owner<'a>(space: &'a Space, domain: &Domain) -> Option<&'a Operator> {
    space
        .operators
        .iter()
        .find(|operator| operator.domains.contains(domain))
}

fn no_such_domain(domain: &Domain) -> OrderError {
    OrderError::Refused(format!(
        "{domain} is not in the space; `vaguemestre domain list` shows its domains"
    ))
}

/// Of every login that commands add to a sandbox.
const PASSWORD: &str = "sandbox";
/// Longer than peers keep an old route or list: they look at the list at least this often.
const OVERLAP_DEFAULT: SignedDuration = SignedDuration::from_mins(10);
