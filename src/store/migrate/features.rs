//! What a database can do, where that depends on its installation.

use crate::error::Result;
use crate::query::Dialect;
use crate::store::{Store, plain};

/// What a database can do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Features {
    pub(super) dialect: Dialect,
    /// Whether it can have indexes of trigrams.
    pub(super) trigrams: bool,
}

/// Whether indexes of trigrams are possible: their operators are in the search path.
const IS_INSTALLED: &str = "SELECT count(*) FROM pg_opclass \
     WHERE opcname = 'gin_trgm_ops' AND pg_opclass_is_visible(oid)";

/// Whether the role may install what they need. The owner of a database may install trusted extensions.
const IS_INSTALLABLE: &str = "SELECT count(*) FROM pg_available_extension_versions \
     WHERE name = 'pg_trgm' AND (current_setting('is_superuser') = 'on' OR trusted \
         AND has_database_privilege(current_database(), 'CREATE')) \
     AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm')";

impl Store {
    /// What the database can do now.
    pub(super) async fn features(&self) -> Result<Features> {
        let dialect = self.dialect();
        let trigrams = match dialect {
            Dialect::Sqlite => true,
            Dialect::Postgres => self.count(plain(IS_INSTALLED)).await? > 0,
        };
        Ok(Features { dialect, trigrams })
    }

    /// What the database can do after a migration.
    pub(super) async fn features_after_migration(&self) -> Result<Features> {
        let features = self.features().await?;
        let trigrams = features.trigrams || self.count(plain(IS_INSTALLABLE)).await? > 0;
        Ok(Features { trigrams, ..features })
    }
}
