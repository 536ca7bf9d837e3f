//! `docker-rs images`, `pull`, `load`, `rmi`.

use std::path::Path;

use bollard::Docker;
use bollard::query_parameters::{CreateImageOptions, ImportImageOptions, ListImagesOptions, RemoveImageOptions};
use futures_util::StreamExt as _;
use tokio_util::io::ReaderStream;

use crate::arguments::{ImagesOptions, RmiOptions};
use crate::error::Error;
use crate::progress::Progress;
use crate::table;

/// Where the progress of a pull is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Stdout,
    /// For `run`, whose standard output is the container's.
    Stderr,
    Nowhere,
}

pub(crate) async fn pull(docker: &Docker, image: &str, quiet: bool) -> Result<(), Error> {
    let name = pull_to(docker, image, if quiet { To::Nowhere } else { To::Stdout }).await?;
    println!("{name}");
    Ok(())
}

/// Pulls, and returns the name with the tag that was taken.
pub(crate) async fn pull_to(docker: &Docker, image: &str, to: To) -> Result<String, Error> {
    let name = with_default_tag(image);
    if name != image && to == To::Stdout {
        println!("Using default tag: latest");
    }
    let options = CreateImageOptions {
        from_image: Some(name.clone()),
        ..CreateImageOptions::default()
    };
    let mut updates = docker.create_image(Some(options), None, None);
    let mut progress = Progress::new(to);
    while let Some(update) = updates.next().await {
        let update = update?;
        if let Some(error) = update.error_detail.and_then(|detail| detail.message) {
            return Err(Error::Engine(error));
        }
        progress.update(
            update.id.as_deref(),
            update.status.as_deref(),
            update.progress_detail.as_ref(),
        );
    }
    Ok(name)
}

/// A tag stands behind the last colon, unless that belongs to the registry's port.
fn with_default_tag(image: &str) -> String {
    let path = image.rsplit('/').next().unwrap_or(image);
    if path.contains(':') || image.contains('@') {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

pub(crate) async fn load(docker: &Docker, input: Option<&Path>) -> Result<(), Error> {
    let reader: Box<dyn tokio::io::AsyncRead + Send + Unpin> = match input {
        None => Box::new(tokio::io::stdin()),
        Some(path) => {
            let file = tokio::fs::File::open(path).await;
            Box::new(file.map_err(|e| Error::Io(format!("open {}", path.display()), e))?)
        }
    };
    let options = ImportImageOptions {
        quiet: true,
        ..ImportImageOptions::default()
    };
    let mut updates = Box::pin(docker.import_image_stream(options, ReaderStream::new(reader), None));
    while let Some(update) = updates.next().await {
        let update = update?;
        if let Some(error) = update.error_detail.and_then(|detail| detail.message) {
            return Err(Error::Engine(error));
        }
        print!("{}", update.stream.unwrap_or_default());
    }
    Ok(())
}

pub(crate) async fn list(docker: &Docker, options: &ImagesOptions) -> Result<(), Error> {
    let images = docker.list_images(None::<ListImagesOptions>).await?;
    let now = jiff::Timestamp::now().as_second();
    let mut rows = Vec::new();
    for image in &images {
        let id = table::short_id(&image.id, options.no_trunc);
        let tags: Vec<&str> = image.repo_tags.iter().map(String::as_str).collect();
        for tag in if tags.is_empty() { vec!["<none>:<none>"] } else { tags } {
            let (repository, tag) = tag.rsplit_once(':').unwrap_or((tag, "<none>"));
            let (created, size) = (table::ago(now - image.created), table::size(image.size));
            rows.push(vec![repository.to_owned(), tag.to_owned(), id.clone(), created, size]);
        }
    }
    if options.quiet {
        rows.iter().for_each(|row| println!("{}", row[2]));
    } else {
        table::print(&["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], &rows);
    }
    Ok(())
}

/// Every image is tried; the exit code is 1 when one of them failed.
pub(crate) async fn remove(docker: &Docker, options: &RmiOptions) -> Result<i32, Error> {
    let mut code = 0;
    for image in &options.images {
        let parameters = RemoveImageOptions {
            force: options.force,
            ..RemoveImageOptions::default()
        };
        match docker.remove_image(image, Some(parameters), None).await {
            Ok(items) => {
                for item in items {
                    item.untagged.iter().for_each(|name| println!("Untagged: {name}"));
                    item.deleted.iter().for_each(|id| println!("Deleted: {id}"));
                }
            }
            Err(error) => {
                eprintln!("{}", Error::from(error));
                code = 1;
            }
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_not_a_tag() {
        assert_eq!(with_default_tag("localhost:5000/a"), "localhost:5000/a:latest");
        assert_eq!(with_default_tag("a:1"), "a:1");
        assert_eq!(with_default_tag("a@sha256:00"), "a@sha256:00");
    }
}
