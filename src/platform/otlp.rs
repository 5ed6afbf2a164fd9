//! Sends spans to a collector that speaks OpenTelemetry's protocol (OTLP) over HTTP.
//!
//! Nobody waits for the collector: spans queue up in memory, and a thread of their own sends them. Those that the queue has
//! no room for, and those of a request that fails, are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor as _};
use thiserror::Error;
use url::Url;

/// Spans that may wait: some seconds' worth of a catch-up at full speed, of about half a kilobyte each.
const MAX_QUEUED: usize = 16_384;
/// How long the spans of the last moments may delay the end of the program.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The exporter can't be set up.
#[derive(Debug, Error)]
#[error("traces can't be sent to {endpoint} (`telemetry.otlp_endpoint`): {cause}")]
pub struct OtlpError {
    endpoint: Url,
    cause: ExporterBuildError,
}

/// Takes spans, or drops all of them where there is no collector. Clones share the queue.
#[derive(Clone, Default)]
pub struct Spans(Option<Arc<BatchSpanProcessor>>);

impl Spans {
    /// Sends them to the collector at this base URL. `instance`: the name of this process among several. The variables of
    /// OpenTelemetry (`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_RESOURCE_ATTRIBUTES`, …) say the rest.
    ///
    /// # Errors
    /// One of those variables can't be used.
    pub fn to(endpoint: &Url, instance: Option<&str>) -> Result<Self, OtlpError> {
        let url = format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/'));
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(url).build();
        let inner = exporter.map_err(|cause| OtlpError { endpoint: endpoint.clone(), cause })?;
        let mut exporter = Exporter { inner, endpoint: endpoint.clone(), is_failing: AtomicBool::new(false) };
        let attributes = [
            KeyValue::new("service.name", env!("CARGO_PKG_NAME")),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ];
        let instance = instance.map(|name| KeyValue::new("service.instance.id", name.to_owned()));
        exporter.set_resource(&Resource::builder().with_attributes(attributes.into_iter().chain(instance)).build());
        let config = BatchConfigBuilder::default().with_max_queue_size(MAX_QUEUED).build();
        Ok(Self(Some(Arc::new(BatchSpanProcessor::builder(exporter).with_batch_config(config).build()))))
    }

    /// Whether anybody wants them: if not, none need to be made.
    #[must_use]
    pub fn are_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Queues a span, or drops it if there is no room. Never waits.
    pub fn send(&self, span: SpanData) {
        if let Some(queue) = &self.0 {
            queue.on_end(span);
        }
    }

    /// Sends what is queued. Blocks for two seconds at most; what is left then is dropped.
    pub fn close(&self) {
        if let Some(queue) = &self.0
            && let Err(error) = queue.shutdown_with_timeout(CLOSE_TIMEOUT)
        {
            tracing::debug!(%error, "the last spans were not delivered");
        }
    }
}

/// Says once when the collector can't be reached, and once when it can again.
#[derive(Debug)]
struct Exporter {
    inner: opentelemetry_otlp::SpanExporter,
    endpoint: Url,
    is_failing: AtomicBool,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.inner.export(batch).await;
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(error) if !was_failing => tracing::warn!(
                endpoint = %self.endpoint, %error,
                "traces can't be delivered: they are dropped until the collector takes them; orders don't wait for it"
            ),
            Ok(()) if was_failing => tracing::info!(endpoint = %self.endpoint, "traces are delivered again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
