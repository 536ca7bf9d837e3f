//! `-v` and `-info`: what this program is.

use std::path::Path;

use containerd_proto::containerd::runc::v1::Options;
use containerd_proto::type_urls;
use prost::Message;
use prost_types::Any;

use crate::error::{Error, Result};
use crate::{bootstrap, runtime};

/// The name of the program.
pub const NAME: &str = "containerd-shim-runc-rs-v2";

/// `containerd.types.RuntimeInfo` (api/types/introspection.proto): only shims and their caller know this message.
#[derive(Clone, PartialEq, Message)]
struct RuntimeInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    version: Option<RuntimeVersion>,
    #[prost(message, optional, tag = "3")]
    options: Option<Any>,
    #[prost(message, optional, tag = "4")]
    features: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeVersion {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    revision: String,
}

/// What `-v` prints.
pub(crate) fn version() -> String {
    format!("{NAME}:\n  Version:  {}\n", env!("CARGO_PKG_VERSION"))
}

/// What `-info` prints: an encoded `RuntimeInfo`. `stdin` is an `Any` with runtime options, or empty.
///
/// # Errors
/// Options that do not decode.
pub(crate) fn info(stdin: &[u8]) -> Result<Vec<u8>> {
    let any = Any::decode(stdin).map_err(|e| Error::Invalid(format!("failed to read runtime options: {e}")))?;
    let options: Option<Options> = bootstrap::options(&any);
    let here = std::env::current_dir().map_err(Error::system("getcwd"))?;
    let runtime = runtime::select(&options.clone().unwrap_or_default(), "", Path::new(&here));
    // Old runtimes have no such command; the field is absent then.
    let features = runtime.features().ok().map(|value| Any {
        type_url: type_urls::FEATURES.to_owned(),
        value,
    });
    let info = RuntimeInfo {
        name: NAME.to_owned(),
        version: Some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: String::new(),
        }),
        options: options.map(|options| containerd_proto::pack(&options)),
        features,
    };
    Ok(info.encode_to_vec())
}
