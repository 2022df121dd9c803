//! The stages of a request.

macro_rules! stages {
    ($($(#[doc = $meaning:literal])+ $stage:ident = $name:literal;)+) => {
        /// A stage of a request. A request can pass a stage several times.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Stage {
            $($(#[doc = $meaning])+ $stage,)+
        }

        impl Stage {
            /// Every stage, in the order of a search.
            pub const ALL: &[Stage] = &[$(Stage::$stage),+];

            /// The name of the stage in logs and traces.
            pub fn name(self) -> &'static str {
                match self { $(Stage::$stage => $name),+ }
            }
        }
    };
}

stages! {
    /// Parsing the texts of filter and order.
    Parse = "parse";
    /// Checking them against the schema, and binding their parameters.
    Check = "check";
    /// Choosing an access path, and building the SQL.
    Compile = "compile";
    /// Waiting for a connection.
    Acquire = "acquire";
    /// Executing a statement, until its first row.
    Execute = "execute";
    /// Reading the rows and writing them as JSON, while they arrive.
    Encode = "encode";
}
