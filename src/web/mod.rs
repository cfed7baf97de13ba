//! HTTP faces. Today one: readiness, and what the sandbox's authority publishes (CRLs, certificates, allow list).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What is published, by path, and whether the process is ready.
pub struct Published {
    ready: AtomicBool,
    files: ArcSwap<BTreeMap<String, File>>,
    card: ArcSwap<String>,
}

/// A published file.
#[derive(Clone)]
struct File {
    media_type: &'static str,
    bytes: Vec<u8>,
}

impl Published {
    /// Nothing but `card`, the answer at `/`: the endpoints as JSON. Not ready.
    pub fn new(card: String) -> Self {
        Self {
            ready: AtomicBool::new(false),
            files: ArcSwap::default(),
            card: ArcSwap::from_pointee(card),
        }
    }

    /// Replaces the answer at `/`.
    pub fn set_card(&self, card: String) {
        self.card.store(Arc::new(card));
    }

    /// Publishes a file under a path such as `/CRL/x.crl`, or replaces it.
    pub fn set(&self, path: &str, media_type: &'static str, bytes: &[u8]) {
        self.files.rcu(|files| {
            let mut files = BTreeMap::clone(files);
            files.insert(
                path.to_owned(),
                File {
                    media_type,
                    bytes: bytes.to_vec(),
                },
            );
            files
        });
    }

    /// What `/readyz` answers from now on.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }
}

/// A face that is being served. It has an end of its own, after everything else: whoever asks during the start or the drain reads "not
/// ready" instead of nothing. Dropped, it ends too.
pub struct Serving {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Serving {
    /// Starts serving.
    pub fn start(listener: TcpListener, published: Arc<Published>) -> Self {
        let stop = CancellationToken::new();
        let ended = stop.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = serve(listener, published, ended).await {
                tracing::error!(%error, "the HTTP face ended");
            }
        });
        Self {
            stop: stop.drop_guard(),
            task,
        }
    }

    /// Ends it: no new request, and those under way get a moment.
    pub async fn stop(self) {
        let Self { stop, mut task } = self;
        drop(stop);
        if timeout(FINISH_MAX, &mut task).await.is_err() {
            task.abort();
        }
    }
}

async fn serve(listener: TcpListener, published: Arc<Published>, stop: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/", get(card))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .fallback(get(file))
        .with_state(published);
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

async fn card(State(published): State<Arc<Published>>) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        published.card.load().as_str().to_owned(),
    )
        .into_response()
}

async fn readiness(State(published): State<Arc<Published>>) -> Response {
    if published.ready.load(Ordering::Acquire) {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n").into_response()
    }
}

async fn file(State(published): State<Arc<Published>>, uri: Uri) -> Response {
    match published.files.load().get(uri.path()) {
        Some(file) => ([(header::CONTENT_TYPE, file.media_type)], file.bytes.clone()).into_response(),
        None => (StatusCode::NOT_FOUND, "nothing is published here\n").into_response(),
    }
}

/// How long requests under way may take once everything else has ended.
const FINISH_MAX: Duration = Duration::from_secs(2);
