-- The tables of ASP.NET Core Identity that this service reads, and users to try.
-- The tables are those of Entity Framework Core on SQL Server, with text instead
-- of nvarchar(max). The passwords are public: bob has "password", the others have
-- "my password". Alice has a hash of .NET 7 or later, dave one of .NET 6 or
-- earlier, bob and carol have hashes of Identity 2.

CREATE TABLE [AspNetUsers] (
    [Id]                   nvarchar(450)  NOT NULL,
    [UserName]             nvarchar(256)  NULL,
    [NormalizedUserName]   nvarchar(256)  NULL,
    [Email]                nvarchar(256)  NULL,
    [NormalizedEmail]      nvarchar(256)  NULL,
    [EmailConfirmed]       bit            NOT NULL,
    [PasswordHash]         text           NULL,
    [SecurityStamp]        text           NULL,
    [ConcurrencyStamp]     text           NULL,
    [PhoneNumber]          text           NULL,
    [PhoneNumberConfirmed] bit            NOT NULL,
    [TwoFactorEnabled]     bit            NOT NULL,
    [LockoutEnd]           datetimeoffset NULL,
    [LockoutEnabled]       bit            NOT NULL,
    [AccessFailedCount]    int            NOT NULL,
    CONSTRAINT [PK_AspNetUsers] PRIMARY KEY ([Id])
);

CREATE INDEX [EmailIndex] ON [AspNetUsers] ([NormalizedEmail]);

CREATE UNIQUE INDEX [UserNameIndex] ON [AspNetUsers] ([NormalizedUserName]);

CREATE TABLE [AspNetRoles] (
    [Id]               nvarchar(450) NOT NULL,
    [Name]             nvarchar(256) NULL,
    [NormalizedName]   nvarchar(256) NULL,
    [ConcurrencyStamp] text          NULL,
    CONSTRAINT [PK_AspNetRoles] PRIMARY KEY ([Id])
);

CREATE UNIQUE INDEX [RoleNameIndex] ON [AspNetRoles] ([NormalizedName]);

CREATE TABLE [AspNetUserRoles] (
    [UserId] nvarchar(450) NOT NULL,
    [RoleId] nvarchar(450) NOT NULL,
    CONSTRAINT [PK_AspNetUserRoles] PRIMARY KEY ([UserId], [RoleId]),
    CONSTRAINT [FK_AspNetUserRoles_AspNetRoles_RoleId] FOREIGN KEY ([RoleId]) REFERENCES [AspNetRoles] ([Id]) ON DELETE CASCADE,
    CONSTRAINT [FK_AspNetUserRoles_AspNetUsers_UserId] FOREIGN KEY ([UserId]) REFERENCES [AspNetUsers] ([Id]) ON DELETE CASCADE
);

INSERT INTO [AspNetRoles] ([Id], [Name], [NormalizedName]) VALUES
    ('0e1f5d5c-6a0f-4d0a-8c6f-1f6f3c2f7a01', 'Administrator', 'ADMINISTRATOR'),
    ('0e1f5d5c-6a0f-4d0a-8c6f-1f6f3c2f7a02', 'Reader', 'READER');

INSERT INTO [AspNetUsers] ([Id], [UserName], [NormalizedUserName], [PasswordHash], [SecurityStamp], [ConcurrencyStamp], [LockoutEnabled], [LockoutEnd], [EmailConfirmed], [PhoneNumberConfirmed], [TwoFactorEnabled], [AccessFailedCount]) VALUES
    ('69f61388-c60d-4ee2-a454-f60305e414c1', 'Alice', 'ALICE', 'AQAAAAIAAYagAAAAEAABAgMEBQYHCAkKCwwNDg/Q8A0WMKbtHQJQ2DHCdoEeeFBrgNlldq6vH4qX/CGqGQ==', 'V2JYQ3M5ZDRTTVBVNkFBSEtFVjdQTk9C', 'c9a1f0f6-7c1b-4a55-8d1e-2f5b0d3e9b01', TRUE, NULL, TRUE, FALSE, FALSE, 0),
    ('69f61388-c60d-4ee2-a454-f60305e414c2', 'bob', 'BOB', 'AP6BvSiS6iPzXRl4VpJiSwn2Dd/PJNe6+ezEbE/6Czb4GYYuC5ja0AdAZGYgxCVr0w==', 'N1ZHRTVDT0tQTU9LUkxZRVdLQ0tZNDJJ', 'c9a1f0f6-7c1b-4a55-8d1e-2f5b0d3e9b02', TRUE, NULL, TRUE, FALSE, FALSE, 2),
    ('69f61388-c60d-4ee2-a454-f60305e414c3', 'carol', 'CAROL', 'AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggHIVY0sdEUfdyeM+E1LtH1uJg==', 'SUhLM0ZQTE1FR0VXTlRKQjZRTDVRWEFD', 'c9a1f0f6-7c1b-4a55-8d1e-2f5b0d3e9b03', TRUE, '9999-12-31 23:59:59+00:00', TRUE, FALSE, FALSE, 0),
    ('69f61388-c60d-4ee2-a454-f60305e414c4', 'dave', 'DAVE', 'AQAAAAEAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==', 'UjRCSk5VQ0dXWTdBTEhESFFZSElWNkRM', 'c9a1f0f6-7c1b-4a55-8d1e-2f5b0d3e9b04', TRUE, '2020-09-13 11:35:33+02:00', TRUE, FALSE, FALSE, 0);

INSERT INTO [AspNetUserRoles] ([UserId], [RoleId]) VALUES
    ('69f61388-c60d-4ee2-a454-f60305e414c1', '0e1f5d5c-6a0f-4d0a-8c6f-1f6f3c2f7a01'),
    ('69f61388-c60d-4ee2-a454-f60305e414c1', '0e1f5d5c-6a0f-4d0a-8c6f-1f6f3c2f7a02'),
    ('69f61388-c60d-4ee2-a454-f60305e414c2', '0e1f5d5c-6a0f-4d0a-8c6f-1f6f3c2f7a02');
