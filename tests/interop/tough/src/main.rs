//! Reads a published tree from disk with tough, and prints each target named on the command line: length and name.
//!
//! `tidelock-interop-tough TREE TARGET…`

use std::error::Error;
use std::path::PathBuf;

use futures::TryStreamExt;
use tough::{RepositoryLoader, TargetName};
use url::Url;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let tree = PathBuf::from(arguments.next().ok_or("usage: tidelock-interop-tough TREE TARGET…")?).canonicalize()?;
    let root = std::fs::read(tree.join("metadata/1.root.json"))?;
    let below = |name: &str| Url::from_directory_path(tree.join(name)).map_err(|()| "not a directory");
    let repository = RepositoryLoader::new(&root, below("metadata")?, below("targets")?).load().await?;
    for name in arguments {
        let stream = repository.read_target(&TargetName::new(&name)?).await?;
        let target = stream.ok_or_else(|| format!("tough finds no target {name}"))?;
        let length: usize = target.map_ok(|piece| piece.len()).try_fold(0, |sum, n| async move { Ok(sum + n) }).await?;
        println!("tough accepts {name} {length} bytes");
    }
    Ok(())
}
