//! `docker-rs info` and `version`.

use bollard::Docker;

use crate::error::Error;

pub(crate) async fn version(docker: &Docker) -> Result<(), Error> {
    let version = docker.version().await?;
    let client = docker.client_version();
    let line = |name: &str, value: Option<String>| println!(" {name:<18}{}", value.unwrap_or_default());
    println!("Client: docker-rs");
    line("Version:", Some(env!("CARGO_PKG_VERSION").to_owned()));
    line(
        "API version:",
        Some(format!("{}.{}", client.major_version, client.minor_version)),
    );
    println!(
        "\nServer: {}",
        version.platform.map(|platform| platform.name).unwrap_or_default()
    );
    line("Version:", version.version);
    line("API version:", version.api_version);
    line("Minimum API:", version.min_api_version);
    line(
        "OS/Arch:",
        Some(format!(
            "{}/{}",
            version.os.unwrap_or_default(),
            version.arch.unwrap_or_default()
        )),
    );
    line("Kernel:", version.kernel_version);
    for component in version.components.unwrap_or_default() {
        line(&format!("{}:", component.name), Some(component.version));
    }
    Ok(())
}

pub(crate) async fn info(docker: &Docker) -> Result<(), Error> {
    let info = docker.info().await?;
    let number = |value: Option<i64>| value.unwrap_or_default().to_string();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let rows = [
        ("Containers", number(info.containers)),
        (" Running", number(info.containers_running)),
        (" Paused", number(info.containers_paused)),
        (" Stopped", number(info.containers_stopped)),
        ("Images", number(info.images)),
        ("Server Version", text(&info.server_version)),
        ("Storage Driver", text(&info.driver)),
        ("Logging Driver", text(&info.logging_driver)),
        ("Default Runtime", text(&info.default_runtime)),
        ("Kernel Version", text(&info.kernel_version)),
        ("Operating System", text(&info.operating_system)),
        ("Architecture", text(&info.architecture)),
        ("CPUs", number(info.ncpu)),
        ("Total Memory", number(info.mem_total)),
        ("Name", text(&info.name)),
        ("ID", text(&info.id)),
        ("Docker Root Dir", text(&info.docker_root_dir)),
    ];
    rows.iter().for_each(|(name, value)| println!("{name}: {value}"));
    info.warnings
        .iter()
        .flatten()
        .for_each(|warning| eprintln!("WARNING: {warning}"));
    Ok(())
}
