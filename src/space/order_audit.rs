//! The audit peers of a space: raised by writing their sections into the space file, so that list and zone name them, and by starting
//! their servers; stopped by the reverse. Off unless asked for.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{MutexGuard, PoisonError};

use serde_json::json;

use super::keeper::{InForce, Keeper, Live};
use super::order::{Answer, OrderError};
use crate::config::Space;
use crate::lab::audit::{AuditPeer, raised_in};
use crate::lab::audit_material::AuditFolder;
use crate::lab::audit_server::{AuditServers, bind, bind_any};

/// Raises the peers that the space file does not name yet, and starts their servers where the space runs.
pub(super) async fn raise(keeper: &Keeper, in_force: &mut InForce) -> Result<Answer, OrderError> {
    let raised = raised_in(&in_force.space);
    if !raised.is_empty() {
        serve(keeper, &in_force.space).await?;
        return Ok(answer("raised already", &raised, keeper));
    }
    let folder = material(keeper)?;
    let bound = bind_any(|peer| preferred(&in_force.space, peer))
        .await
        .map_err(refused)?;
    let places: Vec<(AuditPeer, SocketAddr)> = bound
        .iter()
        .filter_map(|(peer, listener)| Some((*peer, listener.local_addr().ok()?)))
        .collect();
    let servers = match keeper.live() {
        Some(live) => {
            let running = &live.running;
            let tasks = (&running.tracker, &running.stop);
            Some(AuditServers::start(&folder, bound, keeper.clock(), tasks).map_err(refused)?)
        }
        None => None,
    };
    let sections: Vec<String> = places.iter().map(|(peer, address)| peer.section(*address)).collect();
    keeper
        .edit(in_force, |text| text.append(&sections.join("\n"), "space.toml"))
        .await?;
    if let Some(live) = keeper.live() {
        *held(live) = servers;
    }
    Ok(answer("raised", &places, keeper))
}

/// Takes the peers out of the space and ends their servers. What they received stays on disk.
pub(super) async fn stop(keeper: &Keeper, in_force: &mut InForce) -> Result<Answer, OrderError> {
    let raised = raised_in(&in_force.space);
    if raised.is_empty() {
        return Err(OrderError::Refused(
            "no audit peer is raised; `vaguemestre audit raise` does it".to_owned(),
        ));
    }
    keeper
        .edit(in_force, |text| {
            for (peer, _) in &raised {
                text.remove_operator(&peer.key())?;
            }
            Ok(())
        })
        .await?;
    if let Some(live) = keeper.live() {
        held(live).take();
    }
    Ok(answer("stopped", &raised, keeper))
}

/// Starts the servers of the peers that a space names, if it runs and they do not yet.
pub(super) async fn serve(keeper: &Keeper, space: &Space) -> Result<(), OrderError> {
    let raised = raised_in(space);
    let Some(live) = keeper.live() else {
        return Ok(());
    };
    if raised.is_empty() || held(live).is_some() {
        return Ok(());
    }
    let folder = material(keeper)?;
    let mut bound = Vec::new();
    for (peer, address) in raised {
        bound.push((peer, bind(peer, address).await.map_err(refused)?));
    }
    let tasks = (&live.running.tracker, &live.running.stop);
    let servers = AuditServers::start(&folder, bound, keeper.clock(), tasks).map_err(refused)?;
    *held(live) = Some(servers);
    Ok(())
}

fn material(keeper: &Keeper) -> Result<AuditFolder, OrderError> {
    let folder = AuditFolder::of(keeper.layout().root());
    folder.make(keeper.authority(), keeper.now()).map_err(refused)?;
    Ok(folder)
}

fn held(live: &Live) -> MutexGuard<'_, Option<AuditServers>> {
    live.audit.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Above the ports of the space itself, below those of its first operator; any other when the space takes any.
fn preferred(space: &Space, peer: AuditPeer) -> SocketAddr {
    let rank = AuditPeer::ALL.iter().position(|one| *one == peer).unwrap_or_default();
    let port = match (space.web.port(), u16::try_from(rank)) {
        (0, _) | (_, Err(_)) => 0,
        (web, Ok(rank)) => web.saturating_add(PORTS_ABOVE_WEB).saturating_add(rank),
    };
    SocketAddr::new(space.web.ip(), port)
}

fn answer(done: &str, peers: &[(AuditPeer, SocketAddr)], keeper: &Keeper) -> Answer {
    let mut text = format!("audit peers {done}:\n");
    for (peer, address) in peers {
        let written = writeln!(text, "  {:<52} {address:<21} {}", peer.domain(), peer.what());
        debug_assert!(written.is_ok(), "a String takes everything");
    }
    let running = keeper.live().is_some();
    if !running {
        text.push_str("nothing runs: their servers start with `vaguemestre up`\n");
    }
    let peers: Vec<_> = peers
        .iter()
        .map(|(peer, address)| json!({"peer": peer, "domain": peer.domain(), "address": address.to_string()}))
        .collect();
    Answer::new(text, json!({"done": done, "running": running, "peers": peers}))
}

fn refused(error: impl std::error::Error) -> OrderError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    OrderError::Refused(text)
}

/// With the default ports: 10900 to 10906.
const PORTS_ABOVE_WEB: u16 = 820;
