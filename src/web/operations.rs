//! What a monitoring system asks: `/healthz` (the process answers), `/readyz` (it can do its work, and why not) and `/metrics`.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;

/// Whoever knows how a process is.
#[async_trait]
pub trait Observed: Send + Sync {
    /// Whether traffic should come here, and the reasons as JSON.
    async fn readiness(&self) -> (bool, Value);

    /// Every metric, in the text format of Prometheus.
    async fn metrics(&self) -> String;
}

/// `/healthz` and `/readyz`.
pub fn health(observed: Arc<dyn Observed>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .with_state(observed)
}

/// The same and `/metrics`.
pub fn operations(observed: Arc<dyn Observed>) -> Router {
    let metrics = Router::new()
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(&observed));
    health(observed).merge(metrics)
}

async fn readiness(State(observed): State<Arc<dyn Observed>>) -> Response {
    let (ready, reasons) = observed.readiness().await;
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, format!("{reasons:#}\n")).into_response()
}

async fn metrics(State(observed): State<Arc<dyn Observed>>) -> Response {
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], observed.metrics().await).into_response()
}

/// Of the text format.
const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
