//! The ttrpc service generator: a server trait, its dispatcher, and a client, for each service.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use prost_build::{Service, ServiceGenerator};
use prost_types::FileDescriptorSet;

struct Generator;

impl ServiceGenerator for Generator {
    fn generate(&mut self, service: Service, buf: &mut String) {
        // Writing to a String cannot fail.
        let _ = write_service(&service, buf);
    }
}

pub(crate) fn generate(mut descriptors: FileDescriptorSet, out: &Path) -> Result<(), Box<dyn Error>> {
    let mut config = prost_build::Config::new();
    config
        .out_dir(out)
        .include_file("mod.rs")
        .service_generator(Box::new(Generator));
    for file in &mut descriptors.file {
        if !super::TTRPC.contains(&file.package()) {
            file.service.clear();
        }
        if file.package() != "google.protobuf" {
            config.extern_path(format!(".{}", file.package()), super::rust_path(file.package()));
        }
    }
    descriptors
        .file
        .retain(|file| !file.service.is_empty() || file.package() == "google.protobuf");
    config.compile_fds(descriptors)?;
    Ok(())
}

fn write_service(service: &Service, buf: &mut String) -> std::fmt::Result {
    let (name, full) = (&service.name, format!("{}.{}", service.package, service.proto_name));
    writeln!(buf, "/// Implemented by whoever serves `{full}`.")?;
    writeln!(buf, "pub trait {name}: Send + Sync + 'static {{")?;
    for m in &service.methods {
        writeln!(buf, "/// `{full}/{}`.", m.proto_name)?;
        writeln!(
            buf,
            "fn {}(&self, context: &crate::Context, request: {}) -> impl Future<Output = Result<{}, crate::Status>> + Send;",
            m.name, m.input_type, m.output_type
        )?;
    }
    writeln!(buf, "}}")?;
    write_server(service, buf)?;
    write_client(service, &full, buf)
}

fn write_server(service: &Service, buf: &mut String) -> std::fmt::Result {
    let name = &service.name;
    writeln!(
        buf,
        "/// Adapts an implementation of [`{name}`] to what a [`crate::Server`] dispatches to."
    )?;
    writeln!(
        buf,
        "#[derive(Debug, Clone)]\npub struct {name}Server<T>(std::sync::Arc<T>);"
    )?;
    writeln!(buf, "impl<T: {name}> {name}Server<T> {{\n/// Serves `service`.")?;
    writeln!(
        buf,
        "pub fn new(service: std::sync::Arc<T>) -> Self {{ Self(service) }}\n}}"
    )?;
    writeln!(buf, "impl<T: {name}> crate::Service for {name}Server<T> {{")?;
    writeln!(
        buf,
        "fn call<'a>(&'a self, method: &'a str, context: &'a crate::Context, payload: &'a [u8]) -> crate::Reply<'a> {{\nBox::pin(async move {{ match method {{"
    )?;
    for m in &service.methods {
        writeln!(
            buf,
            "\"{}\" => crate::encode(&self.0.{}(context, crate::decode(payload)?).await?),",
            m.proto_name, m.name
        )?;
    }
    writeln!(
        buf,
        "_ => Err(crate::Status::unimplemented(format!(\"method {{method}}\"))),\n}} }})\n}}\n}}"
    )
}

fn write_client(service: &Service, full: &str, buf: &mut String) -> std::fmt::Result {
    let name = &service.name;
    writeln!(
        buf,
        "/// Calls `{full}`, or a service of the same shape under another name."
    )?;
    writeln!(
        buf,
        "#[derive(Debug, Clone)]\npub struct {name}Client {{ client: crate::Client, service: &'static str }}"
    )?;
    writeln!(buf, "impl {name}Client {{")?;
    writeln!(
        buf,
        "/// The service's full name.\npub const SERVICE: &'static str = \"{full}\";"
    )?;
    writeln!(buf, "/// Calls over `client`.")?;
    writeln!(
        buf,
        "pub fn new(client: crate::Client) -> Self {{ Self {{ client, service: Self::SERVICE }} }}"
    )?;
    writeln!(buf, "/// Calls over `client`, to the service of the name `service`.")?;
    writeln!(
        buf,
        "pub fn with_service(client: crate::Client, service: &'static str) -> Self {{ Self {{ client, service }} }}"
    )?;
    for m in &service.methods {
        writeln!(
            buf,
            "/// `{full}/{}`.\n///\n/// # Errors\n/// The server's status, or [`crate::Code::Unavailable`] when the connection is gone.",
            m.proto_name
        )?;
        writeln!(
            buf,
            "pub async fn {}(&self, context: &crate::Context, request: &{}) -> Result<{}, crate::Status> {{\nself.client.call(self.service, \"{}\", context, request).await\n}}",
            m.name, m.input_type, m.output_type, m.proto_name
        )?;
    }
    writeln!(buf, "}}")
}
