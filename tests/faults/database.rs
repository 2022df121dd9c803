//! Faults of the database and of the network to it.

use super::instance::Instance;
use crate::support::Database;

#[tokio::test]
async fn an_instance_starts_on_each_engine() {
    for database in [Database::sqlite(), Database::postgres().await] {
        let instance = Instance::start(&database.url()).await;
        assert_eq!(instance.client().create("One").await.status, 201, "{}", instance.log_text());
    }
}
