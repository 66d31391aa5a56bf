-- There is nothing to go back to: the trigger of 0002 serves every version.
-- Applying 0001 again brings the old one back.
SELECT 1;
