//! A saved query as it is stored. Clients never see it in this form: `app::saved` reads and writes it.

crate::record! {
    /// A named query on the records of a collection.
    pub struct StoredQuery in "saved_queries", unique by [collection, name] {
        /// The collection it asks about.
        collection: String, 1..=100;
        /// The name, unique within the collection.
        name: String, 1..=60;
        /// What it is for.
        description: Option<String>, 1..=500;
        /// Which records, as it was written.
        filter: Option<String>, 1..=8192;
        /// In which order, as it was written.
        order_by: Option<String>, 1..=8192;
        /// What is said of its parameters, as JSON.
        parameters: String, 2..=65_536;
    }
}
