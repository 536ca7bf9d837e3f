//! Client and server against each other, over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use containerd_proto::containerd::services::events::ttrpc::v1::ForwardRequest;
use containerd_proto::containerd::types::Envelope;
use containerd_ttrpc::containerd::services::events::ttrpc::v1::{Events, EventsClient, EventsServer};
use containerd_ttrpc::{Client, Code, Context, Server, Status};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

#[derive(Default)]
struct Recorder {
    release: Notify,
}

impl Events for Recorder {
    async fn forward(&self, context: &Context, request: ForwardRequest) -> Result<(), Status> {
        let topic = request.envelope.unwrap_or_default().topic;
        match topic.as_str() {
            "wait" => self.release.notified().await,
            "release" => self.release.notify_one(),
            _ => {
                return Err(Status::not_found(format!(
                    "{topic} in {:?}",
                    context.get("containerd-namespace-ttrpc")
                )));
            }
        }
        Ok(())
    }
}

fn topic(topic: &str) -> ForwardRequest {
    ForwardRequest {
        envelope: Some(Envelope {
            topic: topic.into(),
            ..Default::default()
        }),
    }
}

async fn serve() -> (EventsClient, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let server = Server::new().with(
        EventsClient::SERVICE,
        Arc::new(EventsServer::new(Arc::new(Recorder::default()))),
    );
    tokio::spawn(async move { server.serve(listener).await });
    (EventsClient::new(Client::connect(&path).await.unwrap()), directory)
}

#[tokio::test]
async fn calls_on_one_connection_run_at_once() {
    let (client, _directory) = serve().await;
    let context = Context::default();
    let (release, wait) = (topic("release"), topic("wait"));
    let (waited, released) = tokio::join!(client.forward(&context, &wait), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.forward(&context, &release).await
    });
    assert_eq!((waited, released), (Ok(()), Ok(())));
}

#[tokio::test]
async fn errors_and_metadata_and_deadlines_travel() {
    let (client, _directory) = serve().await;
    let status = client
        .forward(&Context::namespace("moby"), &topic("x"))
        .await
        .unwrap_err();
    assert_eq!(status, Status::not_found("x in Some(\"moby\")"));
    let late = Context::default().with_timeout(Duration::from_millis(30));
    assert_eq!(
        client.forward(&late, &topic("wait")).await.unwrap_err().code,
        Code::DeadlineExceeded
    );
    assert_eq!(client.forward(&late, &topic("release")).await, Ok(()));
}

#[tokio::test]
async fn an_unknown_service_or_method_is_unimplemented() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move { Server::new().serve(listener).await });
    let client = Client::connect(&path).await.unwrap();
    let result: Result<(), Status> = client.call("a.B", "C", &Context::default(), &()).await;
    assert_eq!(result.unwrap_err(), Status::unimplemented("service a.B"));
}

#[tokio::test]
async fn a_connection_that_ends_fails_its_calls() {
    let (near, far) = UnixStream::pair().unwrap();
    let client = EventsClient::new(Client::new(near));
    let context = Context::default();
    let request = topic("wait");
    let (status, ()) = tokio::join!(client.forward(&context, &request), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(far);
    });
    assert_eq!(status.unwrap_err().code, Code::Unavailable);
    assert_eq!(
        client.forward(&context, &request).await.unwrap_err().code,
        Code::Unavailable
    );
}
