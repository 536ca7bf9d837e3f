//! An engine in the test's process, over memory and over its socket: what it is, and the services without tasks.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::os::unix::fs::PermissionsExt as _;

use common::{Fixture, config, until};
use containerd_grpc::containerd::services::events::v1::events_client::EventsClient;
use containerd_grpc::containerd::services::images::v1::images_client::ImagesClient;
use containerd_grpc::containerd::services::introspection::v1::introspection_client::IntrospectionClient;
use containerd_grpc::containerd::services::leases::v1::leases_client::LeasesClient;
use containerd_grpc::containerd::services::version::v1::version_client::VersionClient;
use containerd_grpc::grpc::health::v1::health_client::HealthClient;
use containerd_proto::containerd::events::ContainerCreate;
use containerd_proto::containerd::services::containers::v1 as containers;
use containerd_proto::containerd::services::content::v1 as content;
use containerd_proto::containerd::services::content::v1::WriteAction;
use containerd_proto::containerd::services::events::v1::SubscribeRequest;
use containerd_proto::containerd::services::images::v1 as images;
use containerd_proto::containerd::services::introspection::v1 as introspection;
use containerd_proto::containerd::services::leases::v1 as leases;
use containerd_proto::containerd::types::Descriptor;
use containerd_proto::grpc::health::v1::HealthCheckRequest;
use containerd_rs::{Engine, EngineError};
use sha2::{Digest as _, Sha256};
use tokio_stream::StreamExt as _;
use tonic::{Code, Request};

fn digest(data: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(data)))
}

fn message(action: WriteAction, reference: &str, offset: i64, data: &[u8]) -> content::WriteContentRequest {
    content::WriteContentRequest {
        action: action.into(),
        r#ref: reference.to_owned(),
        offset,
        data: data.to_vec(),
        // Nothing refers to it, so it would be collected.
        labels: [("containerd.io/gc.root".to_owned(), "test".to_owned())].into(),
        ..Default::default()
    }
}

/// Runs one write stream to its end.
async fn write(
    fixture: &Fixture,
    messages: Vec<content::WriteContentRequest>,
) -> Result<Vec<content::WriteContentResponse>, tonic::Status> {
    let answers = fixture
        .content()
        .write(fixture.request(tokio_stream::iter(messages)))
        .await?;
    answers.into_inner().collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_socket_serve_the_same() {
    let fixture = Fixture::start().await;
    fixture.engine.serve().await.unwrap();
    let socket = fixture.engine.config().address.clone();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let mode = |name: &str| {
        std::fs::metadata(fixture.directory.path().join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!((mode("root"), mode("state")), (0o700, 0o711));
    let over_memory = VersionClient::new(fixture.engine.channel())
        .version(())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(over_memory.version, containerd_rs::VERSION);
    let health = HealthClient::new(fixture.engine.channel())
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    assert_eq!(health.into_inner().status, 1);
    assert!(matches!(
        Engine::start(config(fixture.directory.path())).await,
        Err(EngineError::InUse { .. })
    ));
    assert!(matches!(fixture.engine.serve().await, Err(EngineError::Served { .. })));
    fixture.engine.shutdown().await;
    assert!(!socket.exists(), "the socket stays");
    let error = VersionClient::new(fixture.engine.channel())
        .version(())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn root_of_containerd_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("root/io.containerd.metadata.v1.bolt");
    std::fs::create_dir_all(&database).unwrap();
    std::fs::write(database.join("meta.db"), "x").unwrap();
    let error = Engine::start(config(directory.path())).await.unwrap_err().to_string();
    assert!(error.contains("belongs to containerd"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_outlives_a_restart() {
    let fixture = Fixture::start().await;
    let uuid = async |fixture: &Fixture| {
        IntrospectionClient::new(fixture.engine.channel())
            .server(())
            .await
            .unwrap()
            .into_inner()
            .uuid
    };
    let first = uuid(&fixture).await;
    assert_eq!(first.len(), 36);
    let fixture = fixture.restart().await;
    assert_eq!(uuid(&fixture).await, first);
    let request = introspection::PluginsRequest {
        filters: vec!["type==io.containerd.snapshotter.v1".into()],
    };
    let plugins = IntrospectionClient::new(fixture.engine.channel())
        .plugins(request)
        .await
        .unwrap()
        .into_inner()
        .plugins;
    assert_eq!(plugins.len(), 1);
    let root = &plugins[0].exports["root"];
    assert!(std::path::Path::new(root).is_dir(), "{root}");
    fixture.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runtime_says_what_it_can() {
    let fixture = Fixture::start().await;
    let mut client = IntrospectionClient::new(fixture.engine.channel());
    let request = introspection::PluginInfoRequest {
        r#type: "io.containerd.runtime.v2".into(),
        id: "task".into(),
        options: None,
    };
    let info = client.plugin_info(request).await.unwrap().into_inner();
    assert_eq!(info.plugin.unwrap().id, "task");
    let request = introspection::PluginInfoRequest {
        r#type: "x".into(),
        id: "y".into(),
        options: None,
    };
    assert_eq!(client.plugin_info(request).await.unwrap_err().code(), Code::NotFound);
    fixture.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespace_is_required() {
    let fixture = Fixture::start().await;
    let error = fixture
        .containers()
        .list(Request::new(containers::ListContainersRequest::default()))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::FailedPrecondition, "namespace is required: failed precondition")
    );
    let error = fixture
        .content()
        .info(Request::new(content::InfoRequest::default()))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    fixture.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_written_in_pieces_checked_and_read_back() {
    let fixture = Fixture::start().await;
    let data: Vec<u8> = (0..3_000_000_u32)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
        .collect();
    let whole = digest(&data);
    let half = data.len() / 2;
    let first = vec![
        message(WriteAction::Stat, "r", 0, b""),
        message(WriteAction::Write, "r", 0, &data[..half]),
    ];
    let answers = write(&fixture, first).await.unwrap();
    assert_eq!(answers[1].offset, i64::try_from(half).unwrap());
    // Resumed where it was, with a wrong offset, then with the right one and a wrong digest, then right.
    let wrong = vec![message(WriteAction::Write, "r", 5, b"x")];
    assert_eq!(write(&fixture, wrong).await.unwrap_err().code(), Code::OutOfRange);
    let offset = i64::try_from(half).unwrap();
    let mut last = message(WriteAction::Commit, "r", offset, &data[half..]);
    last.expected = digest(b"other");
    assert_eq!(
        write(&fixture, vec![last.clone()]).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    let again = vec![message(WriteAction::Write, "s", 0, &data[..half])];
    write(&fixture, again).await.unwrap();
    (last.r#ref, last.expected, last.total) = ("s".into(), whole.clone(), i64::try_from(data.len()).unwrap());
    let answers = write(&fixture, vec![last.clone()]).await.unwrap();
    assert_eq!(answers[0].digest, whole);
    assert_eq!(
        write(&fixture, vec![last]).await.unwrap_err().code(),
        Code::AlreadyExists
    );
    let error = write(&fixture, vec![message(WriteAction::Stat, "", 0, b"")])
        .await
        .unwrap_err();
    assert_eq!(error.message(), "first message must have a reference");
    let request = content::ReadContentRequest {
        digest: whole.clone(),
        offset: 7,
        size: 2_000_000,
    };
    let mut pieces = fixture
        .content()
        .read(fixture.request(request))
        .await
        .unwrap()
        .into_inner();
    let mut read = Vec::new();
    while let Some(piece) = pieces.next().await {
        read.extend(piece.unwrap().data);
    }
    assert!(read == data[7..2_000_007]);
    let request = content::ReadContentRequest {
        digest: whole,
        offset: 0,
        size: i64::MAX,
    };
    assert_eq!(
        fixture
            .content()
            .read(fixture.request(request))
            .await
            .unwrap_err()
            .code(),
        Code::OutOfRange
    );
    fixture.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_do_not_share_an_ingest() {
    let fixture = Fixture::start().await;
    let (send, receive) = tokio::sync::mpsc::channel(4);
    send.send(message(WriteAction::Write, "r", 0, b"one")).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(receive);
    let mut first = fixture
        .content()
        .write(fixture.request(stream))
        .await
        .unwrap()
        .into_inner();
    first.next().await.unwrap().unwrap();
    let error = write(&fixture, vec![message(WriteAction::Stat, "r", 0, b"")])
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    drop((send, first));
    until("the first writer to let go", async || {
        write(&fixture, vec![message(WriteAction::Stat, "r", 0, b"")])
            .await
            .is_ok_and(|answers| answers[0].offset == 3)
    })
    .await;
    let request = fixture.request(content::AbortRequest { r#ref: "r".into() });
    fixture.content().abort(request).await.unwrap();
    fixture.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_up_to_16_mib_pass() {
    let fixture = Fixture::start().await;
    let data = vec![7; 15 << 20];
    let answers = write(&fixture, vec![message(WriteAction::Commit, "big", 0, &data)])
        .await
        .unwrap();
    assert_eq!(answers[0].digest, digest(&data));
    fixture.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lists_come_in_pages_and_streams() {
    let fixture = Fixture::start().await;
    for n in 0..130 {
        let text = format!("blob {n}");
        write(&fixture, vec![message(WriteAction::Commit, &text, 0, text.as_bytes())])
            .await
            .unwrap();
        let container = containers::Container {
            id: format!("c{n}"),
            runtime: Some(containers::container::Runtime {
                name: common::RUNTIME.into(),
                options: None,
            }),
            spec: Some(prost_types::Any {
                type_url: "t".into(),
                value: b"{}".to_vec(),
            }),
            ..Default::default()
        };
        let request = containers::CreateContainerRequest {
            container: Some(container),
        };
        fixture.containers().create(fixture.request(request)).await.unwrap();
    }
    let request = fixture.request(content::ListContentRequest::default());
    let pages: Vec<_> = fixture
        .content()
        .list(request)
        .await
        .unwrap()
        .into_inner()
        .collect()
        .await;
    assert!(pages.len() > 1);
    assert_eq!(
        pages.into_iter().map(|page| page.unwrap().info.len()).sum::<usize>(),
        130
    );
    let request = fixture.request(containers::ListContainersRequest {
        filters: vec!["id~=c1".into()],
    });
    let streamed = fixture
        .containers()
        .list_stream(request)
        .await
        .unwrap()
        .into_inner()
        .collect::<Vec<_>>()
        .await
        .len();
    assert_eq!(streamed, 1 + 10 + 30);
    fixture.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_checked_and_changes_are_told() {
    let fixture = Fixture::start().await;
    let filters = vec![format!("namespace=={},topic~=|^/containers/|", fixture.mark)];
    let mut events = EventsClient::new(fixture.engine.channel())
        .subscribe(SubscribeRequest { filters })
        .await
        .unwrap()
        .into_inner();
    fixture.container("one", &["true"]).await;
    let event = events.next().await.unwrap().unwrap();
    assert_eq!(event.topic, "/containers/create");
    let created: ContainerCreate = containerd_proto::unpack(&event.event.unwrap()).unwrap();
    assert_eq!(
        (created.id.as_str(), created.runtime.unwrap().name.as_str()),
        ("one", common::RUNTIME)
    );
    let request = containers::GetContainerRequest { id: "two".into() };
    let error = fixture.containers().get(fixture.request(request)).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().contains(r#"container "two" in namespace"#), "{error}");
    let request = containers::ListContainersRequest {
        filters: vec!["id==".into()],
    };
    assert_eq!(
        fixture
            .containers()
            .list(fixture.request(request))
            .await
            .unwrap_err()
            .code(),
        Code::InvalidArgument
    );
    let request = fixture.request(containers::DeleteContainerRequest { id: "one".into() });
    fixture.containers().delete(request).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().topic, "/containers/delete");
    fixture.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_deletion_returns_when_the_bytes_are_gone() {
    let mut held = message(WriteAction::Commit, "x", 0, b"held");
    held.labels.clear();
    let fixture = Fixture::start().await;
    let lease = leases::CreateRequest {
        id: "l".into(),
        ..Default::default()
    };
    let mut client = LeasesClient::new(fixture.engine.channel());
    client.create(fixture.request(lease)).await.unwrap();
    let mut request = fixture.request(tokio_stream::iter(vec![held]));
    request
        .metadata_mut()
        .insert(containerd_grpc::LEASE_HEADER, "l".parse().unwrap());
    let answers: Vec<_> = fixture
        .content()
        .write(request)
        .await
        .unwrap()
        .into_inner()
        .collect()
        .await;
    let target = answers[0].as_ref().unwrap().digest.clone();
    let image = images::Image {
        name: "i".into(),
        target: Some(Descriptor {
            media_type: "m".into(),
            digest: target.clone(),
            size: 4,
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut names = ImagesClient::new(fixture.engine.channel());
    names
        .create(fixture.request(images::CreateImageRequest {
            image: Some(image),
            ..Default::default()
        }))
        .await
        .unwrap();
    let delete = leases::DeleteRequest {
        id: "l".into(),
        sync: true,
    };
    client.delete(fixture.request(delete)).await.unwrap();
    let info = async || {
        fixture
            .content()
            .info(fixture.request(content::InfoRequest { digest: target.clone() }))
            .await
    };
    info().await.unwrap();
    let delete = images::DeleteImageRequest {
        name: "i".into(),
        sync: true,
        target: None,
    };
    names.delete(fixture.request(delete)).await.unwrap();
    assert_eq!(info().await.unwrap_err().code(), Code::NotFound);
    let (_, hex) = target.split_once(':').unwrap();
    let blob = fixture
        .directory
        .path()
        .join("root/io.containerd.content.v1.content/blobs/sha256")
        .join(hex);
    assert!(!blob.exists());
    fixture.finish().await;
}
