DROP TABLE backfill_event;
DROP TABLE backfill_run;
