-- Nothing to do: the trigger of 0004 works with every version of the service. Apply
-- 0003 again to restore the old trigger.
SELECT 1;
