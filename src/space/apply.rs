//! Makes what runs what the space file says: operators started and closed, directories, list, zone and card replaced. Sessions under way
//! keep what they began with; an operator that stays keeps its doors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::change_operator::say;
use super::doors::{self, Place};
use super::edit::SpaceText;
use super::keeper::{InForce, Keeper, Live, LocalOperator};
use super::made::Made;
use super::order::{Answer, OrderError};
use super::raise::{RaiseError, start};
use super::services::Basis;
use super::{moving, visit};
use crate::config::{Operator, Side, Space};
use crate::identity::Domain;
use crate::pki;

/// What an order did to what runs, by operator key.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    /// Now run.
    pub(super) started: Vec<String>,
    /// Were closed and opened again, because their hosts, ports or names changed.
    pub(super) restarted: Vec<String>,
    /// Were closed; their data stays.
    pub(super) stopped: Vec<String>,
    /// Sessions that had to be cut.
    pub(super) cut: Vec<String>,
}

impl Keeper {
    /// Reads the space file again and makes the space what it says.
    pub(super) async fn apply(&self, in_force: &mut InForce) -> Result<Answer, OrderError> {
        let path = self.layout().space();
        let (space, warnings) = Space::load(&path)?;
        let changes = self.apply_space(in_force, space).await?;
        let mut text = String::new();
        for warning in &warnings {
            say(&mut text, format_args!("{warning}\n"));
        }
        let connections_max = in_force.space.limits.connections_max as usize;
        let room = self.live().map(|live| live.running.room);
        if let Some(warning) = room.and_then(|room| room.warning(connections_max, &path.display().to_string())) {
            say(&mut text, format_args!("{warning}\n"));
        }
        text.push_str(&changes.text());
        say(
            &mut text,
            format_args!("the space {} is in force\n", in_force.space.name),
        );
        Ok(Answer::new(text, changes.data()))
    }

    /// Edits the space file, checks all of it, writes it and makes the space what it says. On an error the file is as it was.
    pub(super) async fn edit(
        &self,
        in_force: &mut InForce,
        change: impl FnOnce(&mut SpaceText) -> Result<(), OrderError>,
    ) -> Result<Changes, OrderError> {
        let path = self.layout().space();
        let name = path.display().to_string();
        let before = std::fs::read_to_string(&path)
            .map_err(|error| OrderError::Refused(format!("cannot read {name}: {error}")))?;
        // What somebody wrote by hand since is applied too, or refused with all that is wrong in it.
        Space::parse(&before, &name)?;
        let mut text = SpaceText::open(&before, &name)?;
        change(&mut text)?;
        let text = text.text();
        let (space, _) = Space::parse(&text, &name)?;
        pki::write_private(&path, text.as_bytes())?;
        match self.apply_space(in_force, space).await {
            Ok(changes) => Ok(changes),
            Err(error) => {
                pki::write_private(&path, before.as_bytes())?;
                Err(error)
            }
        }
    }

    /// Makes the space what a checked file says.
    async fn apply_space(&self, in_force: &mut InForce, mut space: Space) -> Result<Changes, OrderError> {
        let now = self.now();
        let Some(live) = self.live() else {
            let made = self.make(&space)?;
            made.write(self.layout())?;
            in_force.made = Some(made);
            in_force.space = Arc::new(space);
            return Ok(Changes::default());
        };
        live.ports.choose(&mut space);
        let mut changes = Difference::between(&in_force.space, &space, in_force);
        let bound = bind_new(&space, &changes.started).await?;
        let made = self.make(&space)?;
        let mut started = BTreeMap::new();
        for (operator, doors) in bound {
            match start(&made, operator, doors, (self.layout(), self.clock(), live)).await {
                Ok(local) => {
                    started.insert(operator.key.clone(), local);
                }
                Err(error) => {
                    close_all(started).await;
                    return Err(error.into());
                }
            }
        }
        // From here on nothing is taken back: what fails is said, and applying again goes on from there.
        let mut failures = Vec::new();
        in_force.operators.append(&mut started);
        for key in changes.restarted.clone() {
            let Some(operator) = space.operator(&key) else { continue };
            if let Some(local) = in_force.operators.remove(&key) {
                changes.cut.extend(close(&key, local).await);
            }
            match self.open_again(&made, operator, live).await {
                Ok(local) => {
                    in_force.operators.insert(key, local);
                }
                Err(error) => failures.push(format!("operator {key} is closed: {error}")),
            }
        }
        self.adopt(in_force, &space, &made).await?;
        self.show(&made, &space, in_force, live)?;
        let stopped = changes.stopped.clone();
        for key in stopped {
            if let Some(local) = in_force.operators.remove(&key) {
                changes.cut.extend(close(&key, local).await);
            }
        }
        pki::write_private(&self.layout().first_mail(), visit::first_mail(&space, now).as_bytes())?;
        in_force.space = Arc::new(space);
        in_force.made = Some(made);
        if failures.is_empty() {
            Ok(changes)
        } else {
            Err(OrderError::Incomplete(failures.join("\n")))
        }
    }

    fn make(&self, space: &Space) -> Result<Made, RaiseError> {
        let authority = Arc::clone(self.authority());
        Made::make(authority, self.layout(), space, self.now())
    }

    async fn open_again(&self, made: &Made, operator: &Operator, live: &Live) -> Result<LocalOperator, OrderError> {
        let doors = doors::bind_all(operator).await.map_err(RaiseError::Ports)?;
        Ok(start(made, operator, doors, (self.layout(), self.clock(), live)).await?)
    }

    /// Has every running operator judge by the new directory, list and revocation data. One that gains a domain comes before the one that
    /// loses it, so that the domain has a server at every moment.
    async fn adopt(&self, in_force: &InForce, space: &Space, made: &Made) -> Result<(), OrderError> {
        let trust = made.trust_of_now(self.now())?;
        let mut operators: Vec<&Operator> = space.operators.iter().collect();
        operators.sort_by_key(|operator| !gains(&in_force.space, operator));
        for operator in operators {
            let Some(local) = in_force.operators.get(&operator.key) else {
                continue;
            };
            let directory = made.directory(operator)?;
            local.operator.show(|host| made.host(host)).map_err(RaiseError::from)?;
            local
                .operator
                .adopt(directory, Arc::clone(made.allow_list()), Arc::clone(&trust))
                .await?;
        }
        moving::carry_keys(space, &in_force.operators, self.now()).await?;
        Ok(())
    }

    /// Publishes what the authority says, and routes mail by it.
    fn show(&self, made: &Made, space: &Space, in_force: &mut InForce, live: &Live) -> Result<(), OrderError> {
        let places = in_force.places();
        made.publish(&live.published, self.now())?;
        made.write(self.layout())?;
        let basis = Basis {
            authority: self.authority(),
            layout: self.layout(),
            clock: self.clock(),
        };
        live.services.install(space, &places, &live.routes, &basis)?;
        let mut card = made.card(self.layout(), space, &live.web_url, &places);
        if let Some(before) = &in_force.card {
            card.web_tls.clone_from(&before.web_tls);
            card.dns.clone_from(&before.dns);
        }
        card.commands = visit::of(space, &card, self.layout());
        let json = serde_json::to_string_pretty(&card).map_err(RaiseError::from)?;
        pki::write_private(&self.layout().card(), json.as_bytes())?;
        live.published.set_card(json);
        in_force.card = Some(card);
        Ok(())
    }
}

impl Changes {
    /// A line for each.
    pub(super) fn text(&self) -> String {
        let line = |(what, keys): (&str, &Vec<String>)| match keys.as_slice() {
            [] => String::new(),
            keys => format!("{what}: {}\n", keys.join(", ")),
        };
        let lines = [
            ("started", &self.started),
            ("restarted", &self.restarted),
            ("closed", &self.stopped),
            ("closed before all its sessions had ended", &self.cut),
        ];
        lines.map(line).concat()
    }

    fn data(&self) -> serde_json::Value {
        json!({ "started": self.started, "restarted": self.restarted, "closed": self.stopped, "cut": self.cut })
    }
}

struct Difference;

impl Difference {
    /// Which operators of the sandbox begin, end, or must be opened anew.
    fn between(before: &Space, after: &Space, in_force: &InForce) -> Changes {
        let mut changes = Changes::default();
        let alike =
            before.attempts == after.attempts && before.limits == after.limits && before.sending == after.sending;
        for operator in after.operators.iter().filter(|operator| operator.is_local()) {
            let was = before.operator(&operator.key).filter(|was| was.is_local());
            match was {
                // One that could not be opened again is tried anew.
                _ if !in_force.operators.contains_key(&operator.key) => changes.started.push(operator.key.clone()),
                Some(was) if alike && is_opened_alike(was, operator) => {}
                _ => changes.restarted.push(operator.key.clone()),
            }
        }
        let stays = |key: &String| after.operator(key).is_some_and(Operator::is_local);
        changes.stopped = in_force.operators.keys().filter(|key| !stays(key)).cloned().collect();
        changes
    }
}

/// Whether doors, certificates and limits stay; everything else is replaced while it runs.
fn is_opened_alike(one: &Operator, other: &Operator) -> bool {
    let sides = match (&one.side, &other.side) {
        (
            Side::Local { hosts, clients },
            Side::Local {
                hosts: other_hosts,
                clients: other_clients,
            },
        ) => hosts == other_hosts && clients == other_clients,
        _ => false,
    };
    sides
        && one.name == other.name
        && one.structure.structure_id() == other.structure.structure_id()
        && one.department == other.department
        && one.size_bytes_max == other.size_bytes_max
}

/// Whether an operator has a domain that it had not before.
fn gains(before: &Space, operator: &Operator) -> bool {
    let had: &[Domain] = before.operator(&operator.key).map_or(&[], |was| &was.domains);
    operator.domains.iter().any(|domain| !had.contains(domain))
}

async fn bind_new<'a>(
    space: &'a Space,
    started: &[String],
) -> Result<Vec<(&'a Operator, Vec<doors::BoundDoor>)>, RaiseError> {
    let (mut bound, mut errors) = (Vec::new(), Vec::new());
    for operator in started.iter().filter_map(|key| space.operator(key)) {
        match doors::bind_all(operator).await {
            Ok(doors) => bound.push((operator, doors)),
            Err(taken) => errors.extend(taken),
        }
    }
    if errors.is_empty() {
        Ok(bound)
    } else {
        Err(RaiseError::Ports(errors))
    }
}

async fn close_all(operators: BTreeMap<String, LocalOperator>) {
    for (key, local) in operators {
        close(&key, local).await;
    }
}

/// Ends an operator: its sessions are asked to finish, then its store is closed. Its key when some had to be cut.
async fn close(key: &str, local: LocalOperator) -> Option<String> {
    let ended = local.running.drain(DRAIN_MAX).await;
    local.operator.close().await;
    (!ended).then(|| key.to_owned())
}

/// How long the open sessions of an operator that is closed may go on.
const DRAIN_MAX: Duration = Duration::from_secs(10);

impl InForce {
    /// Where everybody listens, by operator key.
    pub(super) fn places(&self) -> BTreeMap<String, Vec<Place>> {
        let places = self.operators.iter();
        places.map(|(key, local)| (key.clone(), local.places.clone())).collect()
    }
}
