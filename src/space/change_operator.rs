//! Orders about operators: added, suspended, resumed, removed, merged, and shown.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::apply::Changes;
use super::edit::set;
use super::keeper::{InForce, Keeper};
use super::order::{Answer, OrderError};
use super::{change_domain, visit};
use crate::config::{Operator, Side, Space, Standing, Structure};
use crate::identity::{Domain, Finess};
use crate::pki;

/// An operator to add, as the user typed it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOperator {
    /// Short name.
    pub key: String,
    /// Raison sociale.
    pub name: String,
    /// FINESS or SIRET.
    pub structure: String,
    /// Département, `Rhône (69)`.
    pub department: String,
    /// Its domains.
    pub domains: Vec<String>,
    /// Its MX host; `mx.KEY.localhost` when not given.
    #[serde(default)]
    pub host: Option<String>,
    /// Where the user's own server listens; without, the sandbox runs the operator.
    #[serde(default)]
    pub reach: Option<String>,
}

/// Adds an operator: issued, listed, routed and running when this returns.
pub(super) async fn add(keeper: &Keeper, in_force: &mut InForce, new: &NewOperator) -> Result<Answer, OrderError> {
    let host = new.host.clone().unwrap_or_else(|| format!("mx.{}.localhost", new.key));
    let reach = new
        .reach
        .as_deref()
        .map(|reach| local_name(reach, &in_force.space))
        .transpose()?;
    let date = keeper.now().strftime("%Y-%m-%d").to_string();
    let numbers = Numbers::invent(&in_force.space, &new.structure);
    let file = keeper.layout().space().display().to_string();
    let changes = keeper
        .edit(in_force, |text| {
            let base = text.free_port_base().ok_or_else(|| {
                OrderError::Refused("no range of 1000 ports is left for another operator: lower port_base".to_owned())
            })?;
            let mut section = head(new, &date);
            match &reach {
                Some(reach) => section.push_str(&external(&host, reach)),
                None => section.push_str(&local(new, &host, base, &numbers)),
            }
            text.append(&section, &file)
        })
        .await?;
    let mut answer = added(keeper, in_force, &new.key)?;
    answer.text.insert_str(0, &changes.text());
    Ok(answer)
}

/// Where a server of the user's listens: an address, because the sandbox asks no DNS server.
fn local_name(reach: &str, space: &Space) -> Result<String, OrderError> {
    let reach = match reach.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => reach.to_owned(),
    };
    let address: std::net::SocketAddr = reach.parse().map_err(|_| {
        OrderError::Refused(format!(
            "--reach {reach} is not an address and a port: write 127.0.0.1:2525"
        ))
    })?;
    if !space.allow_remote && !address.ip().is_loopback() {
        return Err(OrderError::Refused(format!(
            "{address} is not on this machine, and nothing leaves it: set allow_remote = true in [space] first"
        )));
    }
    Ok(reach)
}

fn head(new: &NewOperator, date: &str) -> String {
    let domains: Vec<String> = new.domains.iter().map(|domain| quoted(domain)).collect();
    format!(
        "# Added on {date}.\n[[operator]]\nkey = {}\nname = {}\nstructure = {}\ndepartment = {}\ndomains = [{}]\n",
        quoted(&new.key),
        quoted(&new.name),
        quoted(&new.structure),
        quoted(&new.department),
        domains.join(", ")
    )
}

fn external(host: &str, reach: &str) -> String {
    format!(
        "kind = \"external\"\n\n[[operator.host]]\nname = {}\nreach = {}\nissue = true\n",
        quoted(host),
        quoted(reach)
    )
}

fn local(new: &NewOperator, host: &str, base: i64, numbers: &Numbers) -> String {
    let first = new.domains.first();
    let postmaster = first.map(|domain| format!("postmaster = {}\n", quoted(&format!("contact@{domain}"))));
    let postmaster = postmaster.unwrap_or_default();
    let mut section = format!(
        "port_base = {base}\n{postmaster}\n[[operator.host]]\nname = {}\n\n[[operator.entity]]\nfiness = {entity}\nname = {name}\n\n\
         [[operator.establishment]]\nfiness = {establishment}\nentity = {entity}\nname = {name}\n",
        quoted(host),
        name = quoted(&new.name),
        entity = quoted(&numbers.entity),
        establishment = quoted(&numbers.establishment),
    );
    for (rank, domain) in (1..).zip(&new.domains) {
        let login = if rank == 1 {
            "contact".to_owned()
        } else {
            format!("contact-{rank}")
        };
        let label = format!("Contact - {}", new.name);
        let attached = format!("establishment = {}", quoted(&numbers.establishment));
        section.push_str(&change_domain::contact(domain, &login, &label, &attached));
    }
    section
}

/// A TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

/// FINESS numbers of the structures of an operator that brings none.
struct Numbers {
    entity: String,
    establishment: String,
}

impl Numbers {
    /// The operator's own number where it can be a legal entity's; else numbers that begin with 99 and are given to nobody.
    fn invent(space: &Space, structure: &str) -> Self {
        let directories = || space.operators.iter().map(|operator| &operator.directory);
        let is_establishment =
            |text: &str| directories().any(|one| one.establishments.iter().any(|one| one.finess.as_str() == text));
        let is_known = |text: &str| {
            let structures = space.operators.iter().map(|operator| &operator.structure);
            let mut own = structures.filter_map(|structure| match structure {
                Structure::Finess(finess) => Some(finess),
                Structure::Siret(_) => None,
            });
            own.any(|finess| finess.as_str() == text)
                || is_establishment(text)
                || directories().any(|one| one.entities.iter().any(|one| one.finess.as_str() == text))
        };
        let invented = (900_000..1_000_000).filter_map(|number| {
            let with_key = (0..10).map(|key| format!("99{number}{key}"));
            let mut valid = with_key.filter(|text| text.parse::<Finess>().is_ok_and(|finess| finess.key_matches()));
            valid.next().filter(|text| !is_known(text) && text != structure)
        });
        let mut invented = invented;
        let own = structure.parse::<Finess>().is_ok() && !is_establishment(structure);
        let entity = if own {
            Some(structure.to_owned())
        } else {
            invented.next()
        };
        Self {
            entity: entity.unwrap_or_default(),
            establishment: invented.next().unwrap_or_default(),
        }
    }
}

/// What the user needs to use an operator that was just added.
fn added(keeper: &Keeper, in_force: &InForce, key: &str) -> Result<Answer, OrderError> {
    let space = &in_force.space;
    let operator = known(space, key)?;
    let layout = keeper.layout();
    let mut text = format!("operator {key} is in the space, with {}\n", joined(&operator.domains));
    let mut data = summary(in_force, operator);
    match &operator.side {
        Side::Local { .. } => {
            let places = in_force
                .operators
                .get(key)
                .map(|local| local.places.as_slice())
                .unwrap_or_default();
            for place in places {
                say(
                    &mut text,
                    format_args!("  {:<12}{}  {}\n", place.face.name(), place.address, place.host),
                );
            }
            if places.is_empty() {
                text.push_str("it runs with the next `vaguemestre up`\n");
            }
        }
        Side::External { hosts } => {
            for host in hosts {
                let folder = layout.operator(key).join(host.name.as_str());
                say(
                    &mut text,
                    format_args!(
                        "its server {} shows, as server and as client, the certificate in {}\n  cert.pem (with the intermediate), key.pem, cert.p12 (password sandbox)\nit trusts {}\n",
                        host.name,
                        folder.display(),
                        layout.ca().display()
                    ),
                );
                data["folder"] = json!(folder);
            }
            text.push_str("it sends the mail of the other domains to:\n");
            text.push_str(&routes(in_force));
            data["ca"] = json!(layout.ca());
        }
    }
    let commands = visit::with(space, in_force.card.as_ref(), layout, operator);
    for line in &commands {
        say(&mut text, format_args!("# {}\n{}\n", line.what, line.line));
    }
    data["commands"] = json!(commands);
    Ok(Answer::new(text, data))
}

/// Where the sandbox's own operators take mail, a line per domain.
fn routes(in_force: &InForce) -> String {
    let mut text = String::new();
    for operator in &in_force.space.operators {
        let Some(local) = in_force.operators.get(&operator.key) else {
            continue;
        };
        for place in local
            .places
            .iter()
            .filter(|place| place.face == crate::listener::Face::Peer)
        {
            for domain in &operator.domains {
                say(
                    &mut text,
                    format_args!("  {domain}  {}  {}\n", place.address, place.host),
                );
            }
        }
    }
    text
}

/// Takes an operator off the allow list, or puts it back.
pub(super) async fn set_standing(
    keeper: &Keeper,
    in_force: &mut InForce,
    key: &str,
    standing: Standing,
) -> Result<Answer, OrderError> {
    let (word, done) = match standing {
        Standing::Active => ("active", "is on the allow list again"),
        Standing::Suspended => (
            "suspended",
            "is off the allow list: nobody exchanges mail with it; its users read theirs, and `operator resume` puts it back",
        ),
    };
    if known(&in_force.space, key)?.standing == standing {
        return Err(OrderError::Refused(format!("operator {key} is {word} already")));
    }
    keeper
        .edit(in_force, |text| {
            let operator = text.operator(key)?;
            match standing {
                Standing::Active => drop(operator.remove("state")),
                Standing::Suspended => set(operator, "state", word),
            }
            Ok(())
        })
        .await?;
    let operator = known(&in_force.space, key)?;
    Ok(Answer::new(
        format!("operator {key} {done}\n"),
        summary(in_force, operator),
    ))
}

/// Removes an operator; its data stays on disk.
pub(super) async fn remove(keeper: &Keeper, in_force: &mut InForce, key: &str) -> Result<Answer, OrderError> {
    known(&in_force.space, key)?;
    refuse_under_way(&in_force.space, |from, leaving| from == key || leaving.to == key)?;
    let changes = keeper.take_operator(in_force, key).await?;
    let folder = keeper.layout().operator(key);
    let text = format!(
        "{}operator {key} is out of the space; its data stays in {}\n",
        changes.text(),
        folder.display()
    );
    Ok(Answer::new(text, json!({ "operator": key, "data": folder })))
}

/// A domain that is on its way is in nobody else's hands.
pub(super) fn refuse_under_way(
    space: &Space,
    concerned: impl Fn(&str, &crate::config::Leaving) -> bool,
) -> Result<(), OrderError> {
    for operator in &space.operators {
        if let Some(leaving) = operator
            .leaving
            .iter()
            .find(|leaving| concerned(&operator.key, leaving))
        {
            return Err(OrderError::Refused(format!(
                "{} is on its way from {} to {}: wait until `vaguemestre domain list` shows it there alone",
                leaving.domain, operator.key, leaving.to
            )));
        }
    }
    Ok(())
}

impl Keeper {
    /// Takes an operator's section out of the space, and leaves it beside its data for whoever reads them.
    pub(super) async fn take_operator(&self, in_force: &mut InForce, key: &str) -> Result<Changes, OrderError> {
        let mut section = String::new();
        let changes = self
            .edit(in_force, |text| {
                section = text.remove_operator(key)?;
                Ok(())
            })
            .await?;
        let folder = self.layout().operator(key);
        if folder.exists() {
            let text = format!("[space]\nname = \"removed\"\n\n{section}");
            pki::write_private(&self.layout().removed(key), text.as_bytes())?;
        }
        Ok(changes)
    }
}

/// All operators.
pub(super) fn list(in_force: &InForce) -> Answer {
    let mut table = super::card::plain_table(&[
        "operator",
        "state",
        "run by",
        "domains",
        "boxes",
        "listens for operators at",
    ]);
    for operator in &in_force.space.operators {
        let (run_by, boxes) = match operator.side {
            Side::Local { .. } => ("the sandbox", box_count(operator).to_string()),
            Side::External { .. } => ("you", String::new()),
        };
        let mut domains: Vec<String> = operator.domains.iter().map(ToString::to_string).collect();
        let leaving = operator.leaving.iter();
        domains.extend(leaving.map(|leaving| format!("{} (on its way to {})", leaving.domain, leaving.to)));
        table.add_row([
            operator.key.clone(),
            standing(operator).to_owned(),
            run_by.to_owned(),
            domains.join("\n"),
            boxes,
            peers(in_force, operator).join("\n"),
        ]);
    }
    let data = in_force
        .space
        .operators
        .iter()
        .map(|operator| summary(in_force, operator));
    Answer::new(format!("{table}\n"), data.collect())
}

/// One operator for scripts.
pub(super) fn summary(in_force: &InForce, operator: &Operator) -> serde_json::Value {
    let places = in_force
        .operators
        .get(&operator.key)
        .map(|local| local.places.as_slice());
    let endpoints: Vec<_> = places
        .unwrap_or_default()
        .iter()
        .map(|place| json!({ "face": place.face.name(), "host": place.host.to_string(), "address": place.address.to_string() }))
        .collect();
    let leaving: Vec<_> = operator
        .leaving
        .iter()
        .map(|one| json!({ "domain": one.domain.to_string(), "to": one.to, "until": one.until.to_string() }))
        .collect();
    json!({
        "operator": operator.key,
        "name": operator.name,
        "structure": operator.structure.structure_id(),
        "department": operator.department,
        "state": standing(operator),
        "external": !operator.is_local(),
        "domains": operator.domains.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "leaving": leaving,
        "boxes": box_count(operator),
        "endpoints": endpoints,
    })
}

fn peers(in_force: &InForce, operator: &Operator) -> Vec<String> {
    match &operator.side {
        Side::External { hosts } => hosts
            .iter()
            .map(|host| format!("{} at {}", host.name, host.reach))
            .collect(),
        Side::Local { .. } => {
            let places = in_force
                .operators
                .get(&operator.key)
                .map(|local| local.places.as_slice());
            let peers = places.unwrap_or_default().iter();
            peers
                .filter(|place| place.face == crate::listener::Face::Peer)
                .map(|place| format!("{} at {}", place.host, place.address))
                .collect()
        }
    }
}

fn box_count(operator: &Operator) -> usize {
    operator.directory.boxes.len() + operator.patients.len()
}

fn standing(operator: &Operator) -> &'static str {
    match operator.standing {
        Standing::Active => "active",
        Standing::Suspended => "suspended",
    }
}

/// The operator with that key.
pub(super) fn known<'a>(space: &'a Space, key: &str) -> Result<&'a Operator, OrderError> {
    space.operator(key).ok_or_else(|| {
        let keys: Vec<&str> = space.operators.iter().map(|operator| operator.key.as_str()).collect();
        OrderError::Refused(format!(
            "no operator {key:?} in the space; there is {}",
            keys.join(", ")
        ))
    })
}

/// Names in one line.
pub(super) fn joined(domains: &[Domain]) -> String {
    domains.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Appends; writing to a `String` cannot fail.
pub(super) fn say(text: &mut String, what: std::fmt::Arguments<'_>) {
    let said = text.write_fmt(what);
    debug_assert!(said.is_ok(), "writing to a String cannot fail");
}
