//! Carries routers over HTTP/1.1, in clear or over TLS. Everything a client may take is bounded: connections, the time for a handshake,
//! for a request's head, for a whole connection, and the bytes of a body.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The TLS of an HTTPS face; its certificate may be replaced while it is served.
pub type TlsSlot = Arc<ArcSwap<ServerConfig>>;

/// A face that is being served. It has an end of its own, after everything else: whoever asks during the start or the drain reads "not
/// ready" instead of nothing. Dropped, it ends too.
pub struct Serving {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Serving {
    /// Starts serving in clear.
    pub fn start(listener: TcpListener, router: Router) -> Self {
        Self::begin(listener, Face { router, tls: None })
    }

    /// Starts serving over TLS, each connection with the configuration that `tls` holds when it comes.
    pub fn start_tls(listener: TcpListener, router: Router, tls: TlsSlot) -> Self {
        Self::begin(listener, Face { router, tls: Some(tls) })
    }

    /// Ends it: no new request, and those under way get a moment.
    pub async fn stop(self) {
        let Self { stop, mut task } = self;
        drop(stop);
        if timeout(FINISH_MAX, &mut task).await.is_err() {
            task.abort();
        }
    }

    fn begin(listener: TcpListener, face: Face) -> Self {
        let stop = CancellationToken::new();
        let face = Face {
            router: face.router.layer(DefaultBodyLimit::max(BODY_BYTES_MAX)),
            ..face
        };
        let task = tokio::spawn(accept(listener, Arc::new(face), stop.clone()));
        Self {
            stop: stop.drop_guard(),
            task,
        }
    }
}

/// What is served on one port.
struct Face {
    router: Router,
    tls: Option<TlsSlot>,
}

/// Accepts until `stop`, then waits for what is under way.
async fn accept(listener: TcpListener, face: Arc<Face>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut open = JoinSet::new();
    while !stop.is_cancelled() {
        while open.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            // The place first: beyond the bound, clients wait in the kernel's queue.
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            } => accepted,
        };
        match accepted {
            (Ok(place), Ok((stream, _))) => {
                let (face, stop) = (Arc::clone(&face), stop.clone());
                open.spawn(async move {
                    face.serve(stream, stop).await;
                    drop(place);
                });
            }
            (_, Ok(_)) => break,
            (_, Err(error)) => {
                // Out of descriptors or memory: the kernel keeps the connection waiting, so pause instead of spinning.
                tracing::warn!(%error, "the HTTP face cannot accept, pausing");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

impl Face {
    async fn serve(&self, stream: TcpStream, stop: CancellationToken) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::trace!(%error, "a client left at once");
            return;
        }
        let Some(tls) = &self.tls else {
            return self.converse(stream, stop).await;
        };
        let handshake = TlsAcceptor::from(tls.load_full()).accept(stream);
        match timeout(HANDSHAKE_MAX, handshake).await {
            Ok(Ok(stream)) => self.converse(stream, stop).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS with an HTTPS client failed"),
            Err(_) => tracing::debug!("an HTTPS client did not finish its handshake in time"),
        }
    }

    async fn converse(&self, stream: impl AsyncRead + AsyncWrite + Unpin, stop: CancellationToken) {
        let service = TowerToHyperService::new(self.router.clone());
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            .max_buf_size(HEAD_BYTES_MAX);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let served = timeout(CONNECTION_MAX, async {
            tokio::select! {
                served = connection.as_mut() => return served,
                () = stop.cancelled() => {}
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        });
        match served.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection ended"),
            Err(_) => tracing::debug!("an HTTP connection lasted too long"),
        }
    }
}

/// Connections at once.
const CONNECTIONS_MAX: usize = 256;
/// Longest TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the head of a request, and longest silence between two.
const HEAD_MAX: Duration = Duration::from_secs(15);
/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Largest body of a request: an OCSP request has a few hundred bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest connection, whatever happens on it: a client that reads too slowly makes room for others.
const CONNECTION_MAX: Duration = Duration::from_mins(5);
/// How long requests under way may take once everything else has ended.
const FINISH_MAX: Duration = Duration::from_secs(2);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
