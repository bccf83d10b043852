//! The embedded backends under every suite.

use std::sync::Arc;

use mfctl::backends::embedded::objects::FolderStore;
use mfctl::ports::ObjectStore;

use crate::objects::Store;

mod object_store {
    crate::objects::object_store_suite!(super::objects);
}

async fn objects() -> Store {
    let data = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(FolderStore::new(data.path()));
    Store { store, kept: Box::new(data) }
}
