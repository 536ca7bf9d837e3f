//! bundle.md and glossary.md.

use std::fs;

use serde_json::json;

use crate::conformance::trial::{Done, Trial};

/// `config.json` is looked for in the bundle's own directory, and nowhere else.
pub fn config_json(t: &mut Trial) -> Done {
    let id = "bundle.config-json";
    let mut bundle = t.bundle();
    bundle.script("echo here");
    t.refused(id, &bundle.call(&["create", &bundle.id]));
    fs::create_dir(bundle.dir.join("config"))?;
    for other in ["config/config.json", "runtime.json", "Config.json"] {
        fs::write(bundle.dir.join(other), bundle.config.to_string())?;
    }
    t.refused(id, &bundle.call(&["create", &bundle.id]));
    t.same(id, bundle.run().ok()?.trim(), "here");
    Ok(())
}

/// What is not ASCII arrives as it was written.
pub fn utf8(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.push("/process/env", json!("GREETING=grüß dich, 世界"));
    let said = bundle.tell("echo \"$GREETING\"")?;
    t.same("glossary.utf8", said.trim(), "grüß dich, 世界");
    Ok(())
}
