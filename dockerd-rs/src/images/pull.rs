//! `docker pull`: a name in a registry becomes an image here.

use std::collections::HashMap;

use containerd_rs_registry::document::{Document, is_layer};
use containerd_rs_registry::{ApiError, Credentials, Descriptor, RegistryError, Repository, Resolver, Session};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::config::ImageDocument;
use super::fetch::Fetching;
use super::platform::Platform;
use super::progress::{Progress, short_id};
use super::reference::{Reference, canonical};
use super::resolve::{no_platform, ranked};
use super::scope::{self, Scope};
use super::store::{Record, dangling_name};
use super::unpack::{self, Layer};
use super::{ImageService, config};
use crate::error::{Error, ErrorKind, Result};

/// Layers fetched at once, as `max-concurrent-downloads` of Docker.
const PARALLEL: usize = 3;

/// What is to be pulled.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The name. Without tag and digest, all tags are pulled.
    pub reference: Reference,
    /// The platform; this machine's when none is given.
    pub platform: Option<Platform>,
    /// The user's credentials for the name's registry.
    pub credentials: Option<Credentials>,
}

impl PullRequest {
    /// Makes a request of the API's `fromImage` and `tag`, where the tag may be a digest.
    ///
    /// # Errors
    /// 400 for a malformed name.
    pub fn new(from_image: &str, tag: &str) -> Result<Self> {
        let mut reference = Reference::parse(from_image.trim())?;
        if let Ok(digest) = tag.parse() {
            reference = reference.with_digest(digest);
        } else if !tag.is_empty() {
            reference = Reference::parse(&format!("{}:{tag}", reference.name()))?;
        }
        Ok(Self {
            reference,
            platform: None,
            credentials: None,
        })
    }
}

impl ImageService {
    /// Pulls, telling `progress`, until it is done or `cancel` is canceled. Nothing is left behind by a failure.
    ///
    /// # Errors
    /// What the registry says, in Docker's words and with Docker's status; what is wrong with what it sends.
    pub async fn pull(&self, request: PullRequest, progress: Progress, cancel: CancellationToken) -> Result<()> {
        let host = request.reference.domain().to_owned();
        let credentials = request.credentials.clone().map(|held| (host, held));
        let session = self.inner.registry.session(credentials);
        let repository = Repository::new(request.reference.domain(), request.reference.path())
            .map_err(|e| Error::invalid(e.to_string()))?;
        let tags = match (request.reference.tag(), request.reference.digest()) {
            (None, None) => {
                let tags = session.tags(&repository).await;
                tags.map_err(|e| resolve_error(&request.reference, e))?
            }
            _ => Vec::new(),
        };
        if tags.is_empty() {
            let reference = request.reference.clone().or_latest();
            return self
                .pull_one(reference, &request, session, repository, progress, cancel)
                .await;
        }
        for tag in tags {
            let Ok(reference) = Reference::parse(&format!("{}:{tag}", request.reference.name())) else {
                tracing::warn!(tag, "invalid tag, won't pull");
                continue;
            };
            let (session, repository) = (session.clone(), repository.clone());
            let what = reference.familiar();
            self.pull_one(
                reference,
                &request,
                session,
                repository,
                progress.clone(),
                cancel.clone(),
            )
            .await
            .map_err(|e| e.context(format!("error pulling {what}")))?;
        }
        Ok(())
    }

    async fn pull_one(
        &self,
        reference: Reference,
        request: &PullRequest,
        session: Session,
        repository: Repository,
        progress: Progress,
        cancel: CancellationToken,
    ) -> Result<()> {
        let platform = request.platform.clone();
        let one = One {
            service: self.clone(),
            reference,
            platform,
            session,
            repository,
            progress,
        };
        scope::within(self.store(), cancel, move |scope| async move { one.run(&scope).await }).await
    }
}

/// One name on its way.
struct One {
    service: ImageService,
    reference: Reference,
    platform: Option<Platform>,
    session: Session,
    repository: Repository,
    progress: Progress,
}

/// What is to be stored and unpacked, when all documents are known.
struct Plan {
    config: Descriptor,
    chain_id: String,
    layers: Vec<Layer>,
}

impl One {
    async fn run(&self, scope: &Scope) -> Result<()> {
        let which = self.reference.tag_or_digest();
        let target = self.session.resolve(&self.repository, which).await;
        let target = target.map_err(|e| resolve_error(&self.reference, e))?;
        let fetcher = self.session.fetcher(&self.repository);
        let fetching = Fetching {
            scope,
            locks: &self.service.inner.locks,
            fetcher: fetcher.as_ref(),
            progress: &self.progress,
            source: source_label(&self.reference),
        };
        let plan = self.documents(&fetching, &target).await?;
        self.progress
            .message_of(which, format!("Pulling from {}", self.reference.path()))
            .await;
        self.layers(&fetching, &plan).await?;
        if !plan.chain_id.is_empty() {
            let key = format!("containerd.io/gc.ref.snapshot.{}", scope.store.l3.snapshotter());
            scope
                .store
                .set_labels(plan.config.digest().as_ref(), [(key, plan.chain_id.clone())].into())
                .await?;
        }
        self.name(scope, &target).await
    }

    /// Fetches and checks the documents: index, manifest, config.
    async fn documents(&self, fetching: &Fetching<'_>, target: &Descriptor) -> Result<Plan> {
        let platform = self.platform.clone().unwrap_or_else(Platform::host);
        let manifest = match fetching.document(target).await? {
            Document::Manifest(manifest) => manifest,
            Document::Index(index) => {
                let chosen = ranked(index.manifests(), &platform).into_iter().next();
                let chosen = chosen.ok_or_else(|| no_platform(target, &platform))?;
                match fetching.document(&chosen).await? {
                    Document::Manifest(manifest) => manifest,
                    Document::Index(_) => {
                        return Err(Error::internal(format!("index {} in an index", chosen.digest())));
                    }
                }
            }
        };
        if let Some(odd) = manifest.layers().iter().find(|l| !is_layer(l.media_type().as_ref())) {
            return Err(Error::internal(format!(
                "unsupported media type {} of layer {}",
                odd.media_type(),
                odd.digest()
            )));
        }
        let config = manifest.config().clone();
        let bytes = fetching.read(&config).await?;
        let document = ImageDocument::parse(config.digest().as_ref(), &bytes)?;
        self.check_platform(&document)?;
        let layers = unpack::layers(manifest.layers(), &document.rootfs.diff_ids)?;
        fetching.put("config", &config, &bytes, HashMap::new()).await?;
        Ok(Plan {
            config,
            chain_id: document.chain_id(),
            layers,
        })
    }

    /// A platform that was asked for by name has to be the one that came.
    fn check_platform(&self, document: &config::ImageDocument) -> Result<()> {
        let Some(wanted) = &self.platform else { return Ok(()) };
        let found = Platform::new(&document.os, &document.architecture, &document.variant);
        if wanted.rank(&found).is_some() {
            return Ok(());
        }
        let name = self.reference.familiar();
        let why = format!("but its platform ({found}) does not match the specified platform ({wanted})");
        Err(Error::not_found(format!("image with reference {name} was found {why}")))
    }

    /// Fetches the layers, and unpacks each as soon as it and all below it are there.
    async fn layers(&self, fetching: &Fetching<'_>, plan: &Plan) -> Result<()> {
        if self.complete(fetching.scope, plan).await? {
            return Ok(());
        }
        for (at, layer) in plan.layers.iter().enumerate() {
            let id = short_id(layer.blob.digest().as_ref());
            self.progress.state(id, "Pulling fs layer").await;
            if at >= PARALLEL {
                self.progress.state(id, "Waiting").await;
            }
        }
        let (done, arrivals): (Vec<_>, Vec<_>) = plan.layers.iter().map(|_| oneshot::channel::<()>()).unzip();
        let fetch = stream::iter(plan.layers.clone().into_iter().zip(done))
            .map(|(layer, done)| async move {
                fetching.layer(&layer.blob).await?;
                // The unpacker has failed and gone; its error is the one that counts.
                let _ = done.send(());
                Ok::<(), Error>(())
            })
            .buffer_unordered(PARALLEL)
            .try_collect::<()>();
        let unpack = async {
            for (layer, arrival) in plan.layers.iter().zip(arrivals) {
                if arrival.await.is_err() {
                    // The download has failed; its error is the one that counts.
                    return std::future::pending().await;
                }
                unpack::unpack(fetching.scope, fetching.locks, layer, Some(&self.progress)).await?;
                self.progress
                    .state(short_id(layer.blob.digest().as_ref()), "Pull complete")
                    .await;
            }
            Ok(())
        };
        tokio::try_join!(fetch, unpack).map(|_| ())
    }

    /// Whether all layers and the last snapshot are here. They are put under the lease on the way.
    async fn complete(&self, scope: &Scope, plan: &Plan) -> Result<bool> {
        if !plan.chain_id.is_empty() && !scope.store.has_snapshot(&plan.chain_id).await? {
            return Ok(false);
        }
        for layer in &plan.layers {
            if scope.store.info(layer.blob.digest().as_ref()).await?.is_none() {
                return Ok(false);
            }
            scope
                .store
                .keep(&scope.lease, "content", layer.blob.digest().as_ref())
                .await?;
        }
        if !plan.chain_id.is_empty() {
            let kind = format!("snapshots/{}", scope.store.l3.snapshotter());
            scope.store.keep(&scope.lease, &kind, &plan.chain_id).await?;
        }
        Ok(true)
    }

    /// Gives the image its name, keeps the one that had it, and says so.
    async fn name(&self, scope: &Scope, target: &Descriptor) -> Result<()> {
        let name = canonical(&self.reference);
        let old = scope.store.image(&name).await?;
        let replaced = self.service.set_name(&name, target).await?;
        let id = target.digest().to_string();
        self.service
            .event("pull", &self.reference.familiar(), &self.reference.familiar_name());
        let newer = replaced || old.is_none();
        let familiar = self.reference.familiar();
        self.progress.message(format!("Digest: {id}")).await;
        let status = if newer {
            "Downloaded newer image"
        } else {
            "Image is up to date"
        };
        self.progress.message(format!("Status: {status} for {familiar}")).await;
        Ok(())
    }
}

impl ImageService {
    /// Points a name at a target. An image that had the name and has no other is kept as dangling; the place holder of the
    /// new one goes. Says whether the name pointed elsewhere before.
    pub(crate) async fn set_name(&self, name: &str, target: &Descriptor) -> Result<bool> {
        let _turn = self.inner.locks.turn(name).await;
        let store = self.store();
        let old: Option<Record> = store.image(name).await?;
        let replaced = old.as_ref().filter(|old| old.target.digest() != target.digest());
        if let Some(old) = replaced {
            let others = store.images().await?;
            let last = !others.iter().any(|r| r.id() == old.id() && r.name != name);
            if last {
                store.keep_dangling(old).await?;
            }
        }
        store.put_image(name, target, HashMap::new()).await?;
        store
            .delete_image(&dangling_name(target.digest().as_ref()), false)
            .await?;
        Ok(replaced.is_some())
    }
}

impl ImageService {
    /// `docker login`: tries credentials on a registry.
    ///
    /// # Errors
    /// 401 when the registry refuses them.
    pub async fn login(&self, host: &str, credentials: Credentials) -> Result<()> {
        let session = self.inner.registry.session(Some((host.to_owned(), credentials)));
        session.login(host).await.map_err(|error| match &error {
            RegistryError::Unauthorized { url, message } => Error::new(
                ErrorKind::Unauthorized,
                format!("Get \"{url}v2/\": unauthorized: {message}"),
            ),
            error if error.is_denied() => Error::new(ErrorKind::Unauthorized, error.to_string()),
            error => Error::internal(error.to_string()),
        })
    }
}

/// `containerd.io/distribution.source.HOST = PATH`.
fn source_label(reference: &Reference) -> (String, String) {
    (
        format!("containerd.io/distribution.source.{}", reference.domain()),
        reference.path().to_owned(),
    )
}

/// A registry's refusal of a name, in Docker's words and with its status.
fn resolve_error(reference: &Reference, error: RegistryError) -> Error {
    let said: Vec<String> = error.api_errors().iter().map(ApiError::to_string).collect();
    let mut cause = if said.is_empty() {
        String::new()
    } else {
        format!(": {}", said.join(", "))
    };
    if let RegistryError::NoCredentials { .. } = &error {
        return Error::internal(format!(
            "failed to resolve reference {:?}: {error}",
            canonical(reference)
        ));
    }
    if error.is_denied() {
        if let RegistryError::Unauthorized { message, .. } = &error {
            cause = format!(": {message}");
        }
        let text = "repository does not exist or may require 'docker login'";
        return Error::not_found(format!(
            "pull access denied for {}, {text}{cause}",
            reference.familiar_name()
        ));
    }
    if error.is_not_found() {
        if error.api_errors().iter().any(|e| e.code == "NAME_UNKNOWN") {
            return Error::not_found(format!("repository {} not found{cause}", reference.familiar_name()));
        }
        return Error::not_found(format!("manifest for {} not found{cause}", reference.familiar()));
    }
    if let RegistryError::Schema1 { .. } = &error {
        return Error::invalid(error.to_string());
    }
    Error::internal(format!(
        "failed to resolve reference {:?}: {error}",
        canonical(reference)
    ))
}
