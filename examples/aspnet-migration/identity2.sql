-- The tables of ASP.NET Identity 2 that this service reads, and users to try. The
-- tables are those of Entity Framework 6 on SQL Server, with text instead of
-- nvarchar(max). The passwords are public: bob has "password", the others have
-- "my password".

CREATE TABLE [AspNetUsers] (
    [Id]                   nvarchar(128) NOT NULL,
    [Email]                nvarchar(256) NULL,
    [EmailConfirmed]       bit           NOT NULL,
    [PasswordHash]         text          NULL,
    [SecurityStamp]        text          NULL,
    [PhoneNumber]          text          NULL,
    [PhoneNumberConfirmed] bit           NOT NULL,
    [TwoFactorEnabled]     bit           NOT NULL,
    [LockoutEndDateUtc]    datetime      NULL,
    [LockoutEnabled]       bit           NOT NULL,
    [AccessFailedCount]    int           NOT NULL,
    [UserName]             nvarchar(256) NOT NULL,
    CONSTRAINT [PK_dbo.AspNetUsers] PRIMARY KEY ([Id])
);

CREATE UNIQUE INDEX [UserNameIndex] ON [AspNetUsers] ([UserName]);

CREATE TABLE [AspNetRoles] (
    [Id]   nvarchar(128) NOT NULL,
    [Name] nvarchar(256) NOT NULL,
    CONSTRAINT [PK_dbo.AspNetRoles] PRIMARY KEY ([Id])
);

CREATE UNIQUE INDEX [RoleNameIndex] ON [AspNetRoles] ([Name]);

CREATE TABLE [AspNetUserRoles] (
    [UserId] nvarchar(128) NOT NULL,
    [RoleId] nvarchar(128) NOT NULL,
    CONSTRAINT [PK_dbo.AspNetUserRoles] PRIMARY KEY ([UserId], [RoleId]),
    CONSTRAINT [FK_dbo.AspNetUserRoles_dbo.AspNetRoles_RoleId] FOREIGN KEY ([RoleId]) REFERENCES [AspNetRoles] ([Id]) ON DELETE CASCADE,
    CONSTRAINT [FK_dbo.AspNetUserRoles_dbo.AspNetUsers_UserId] FOREIGN KEY ([UserId]) REFERENCES [AspNetUsers] ([Id]) ON DELETE CASCADE
);

INSERT INTO [AspNetRoles] ([Id], [Name]) VALUES
    ('0e1f5d5c-6a0f-4d0a-8c6f-1f6f3c2f7a01', 'Administrator'),
    ('0e1f5d5c-6a0f-4d0a-8c6f-1f6f3c2f7a02', 'Reader');

INSERT INTO [AspNetUsers] ([Id], [UserName], [PasswordHash], [SecurityStamp], [LockoutEnabled], [LockoutEndDateUtc], [EmailConfirmed], [PhoneNumberConfirmed], [TwoFactorEnabled], [AccessFailedCount]) VALUES
    ('69f61388-c60d-4ee2-a454-f60305e414c1', 'Alice', 'AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggHIVY0sdEUfdyeM+E1LtH1uJg==', '5d3b1f0a-3c57-4b8e-9a51-6d1c1f0e2a01', TRUE, NULL, TRUE, FALSE, FALSE, 0),
    ('69f61388-c60d-4ee2-a454-f60305e414c2', 'bob', 'AP6BvSiS6iPzXRl4VpJiSwn2Dd/PJNe6+ezEbE/6Czb4GYYuC5ja0AdAZGYgxCVr0w==', '5d3b1f0a-3c57-4b8e-9a51-6d1c1f0e2a02', TRUE, NULL, TRUE, FALSE, FALSE, 2),
    ('69f61388-c60d-4ee2-a454-f60305e414c3', 'carol', 'AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggHIVY0sdEUfdyeM+E1LtH1uJg==', '5d3b1f0a-3c57-4b8e-9a51-6d1c1f0e2a03', TRUE, '9999-12-31 23:59:59', TRUE, FALSE, FALSE, 0),
    ('69f61388-c60d-4ee2-a454-f60305e414c4', 'dave', 'AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggHIVY0sdEUfdyeM+E1LtH1uJg==', '5d3b1f0a-3c57-4b8e-9a51-6d1c1f0e2a04', TRUE, '2020-09-13 09:35:33', TRUE, FALSE, FALSE, 0);

INSERT INTO [AspNetUserRoles] ([UserId], [RoleId]) VALUES
    ('69f61388-c60d-4ee2-a454-f60305e414c1', '0e1f5d5c-6a0f-4d0a-8c6f-1f6f3c2f7a01'),
    ('69f61388-c60d-4ee2-a454-f60305e414c1', '0e1f5d5c-6a0f-4d0a-8c6f-1f6f3c2f7a02'),
    ('69f61388-c60d-4ee2-a454-f60305e414c2', '0e1f5d5c-6a0f-4d0a-8c6f-1f6f3c2f7a02');
