//! `top`: the host's `ps`, with only the container's processes.

use containerd_proto::containerd::services::tasks::v1::ListPidsRequest;
use serde_json::{Value, json};

use super::Engine;
use super::container::Container;
use crate::error::{Error, Result};

impl Engine {
    /// The processes of a container, in the columns that `ps ARGS` gives.
    ///
    /// # Errors
    /// 409 when it does not run; what `ps` says of arguments it does not know.
    pub(crate) async fn top(&self, container: &Container, args: &str) -> Result<Value> {
        let record = container.record();
        if !record.state.is_running() {
            return Err(Error::conflict(format!("container {} is not running", record.id)));
        }
        let answer = self
            .l3
            .tasks()
            .list_pids(ListPidsRequest {
                container_id: record.id.clone(),
            })
            .await?;
        let pids: Vec<u32> = answer
            .into_inner()
            .processes
            .iter()
            .map(|process| process.pid)
            .collect();
        let args = if args.is_empty() { "-ef" } else { args };
        let output = tokio::process::Command::new("ps")
            .args(args.split_whitespace())
            .kill_on_drop(true)
            .output()
            .await;
        let output = output.map_err(|e| Error::failed("ps", e))?;
        if !output.status.success() {
            return Err(Error::internal(format!(
                "error running ps: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
        let value = table(&String::from_utf8_lossy(&output.stdout), &pids)?;
        self.container_event("top", &record, &[]);
        Ok(value)
    }
}

fn table(text: &str, pids: &[u32]) -> Result<Value> {
    let mut lines = text.lines();
    let titles: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let at = titles
        .iter()
        .position(|title| *title == "PID")
        .ok_or_else(|| Error::internal("Couldn't find PID field in ps output"))?;
    let processes: Vec<Vec<String>> = lines
        .map(|line| {
            // The last column is the command, blanks and all.
            let mut fields: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            if fields.len() > titles.len() {
                let rest = fields.split_off(titles.len() - 1).join(" ");
                fields.push(rest);
            }
            fields
        })
        .filter(|fields| {
            fields
                .get(at)
                .and_then(|pid| pid.parse().ok())
                .is_some_and(|pid| pids.contains(&pid))
        })
        .collect();
    Ok(json!({"Titles": titles, "Processes": processes}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_processes_are_shown() {
        let value = table("UID PID CMD\nroot 1 init\nroot 22 sleep 10 x\n", &[22]).unwrap();
        assert_eq!(
            value,
            json!({"Titles": ["UID", "PID", "CMD"], "Processes": [["root", "22", "sleep 10 x"]]})
        );
    }
}
