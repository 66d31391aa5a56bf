-- Nothing to do: the trigger of 0002 works with every version of the service. Apply
-- 0001 again to restore the old trigger.
SELECT 1;
