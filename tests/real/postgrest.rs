//! The catalog behind a PostgREST-compatible server: its contract, and what only such a catalog can do wrong.

mod cases;
mod migrations;
pub mod server;
mod speed;

use std::sync::Arc;

use mfctl_core::ports::Catalog;

use self::server::Server;
use crate::contract::harness::Fixture;

/// As whoever may see every tenant: one case has two.
mod operator {
    crate::contract::catalog::catalog_suite!(crate::postgrest::operator_catalog);
}

/// As ingest and workers come: every case that keeps to one tenant.
mod service {
    mod writes {
        cases!(crate::postgrest::service_catalog, crate::contract::catalog:
            a_staged_asset_is_read_back_whole,
            the_same_bytes_twice_are_one_asset_with_two_sources,
            the_first_of_a_batch_stages_and_the_rest_are_answered_with_it,
            replays_of_every_write_change_nothing,
            a_lost_object_is_replaced_while_its_asset_is_staged,
            a_state_never_goes_backwards_whatever_the_order,
            a_revoked_asset_stays_revoked,
            a_write_of_an_older_revision_changes_nothing,
            facts_replace_facts_and_nothing_said_keeps_them,
            a_dead_letter_is_flagged_and_cleared_by_its_own_stage,
            a_claim_keeps_its_first_owner,
            claims_below_the_committed_offset_are_done,
            a_claim_is_freed_by_its_owner_alone,
            concurrent_claims_agree_on_one_owner,
            the_summary_agrees_with_the_assets,
        );
    }
    mod lists {
        cases!(crate::postgrest::service_catalog, crate::contract::catalog_lists:
            assets_are_paged_by_id,
            every_filter_selects_what_it_says,
            filters_hold_together,
            pages_neither_miss_nor_repeat_while_assets_are_staged,
            sources_come_latest_first,
            an_event_and_a_path_lead_to_their_assets,
            the_last_outcome_of_a_file_in_a_job_stands,
            outcomes_are_paged_by_tenant_and_path,
            an_empty_catalog_has_nothing,
        );
    }
}

async fn operator_catalog() -> Fixture<dyn Catalog> {
    let server = Server::start().await;
    Fixture::new(Arc::new(server.catalog(server.as_operator())), server)
}

async fn service_catalog() -> Fixture<dyn Catalog> {
    let server = Server::start().await;
    Fixture::new(Arc::new(server.catalog(server.as_service("default"))), server)
}
